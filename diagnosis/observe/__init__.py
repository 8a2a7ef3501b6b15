"""Watches a script train, and turns what it saw into the record. In the order in which the data flow:

patches/            stand in for what the script calls in torch and transformers, and tell the observer
untouched/          files older than the examination stay as they are, whatever the script writes
late.py             when a library is imported that the script may do without
ranks.py            scripts that train in several processes
notebooks.py        names and modules that a notebook's cells find in Jupyter alone
guard.py            keeps errors of observing away from the script
observer.py         holds the owners below; events that concern several of them; the stop

loaders.py          DataLoaders and the pass over one; which trains, which validates
tokenizers.py, checkpoints.py, freezes.py       calls of tokenizers; weights loaded; parameters frozen
models.py           outermost modules, the encoder in them, single layers
pooling.py          what position of the encoder's output the head reads
encoder_input.py    token ids and mask among the arguments of a forward
libraries.py        the training libraries that may run the loop
passes.py           forward passes: what reached the model, which of them train
fingerprints.py, evaluation.py      a few weights, to be known again; passes that judge, what is held against labels
losses.py           the loss of a pass, from its arguments or its graph
gradients.py        what backward calls leave until the step; clipping
scaling.py          the gradient scaler
steps.py, by_hand.py        optimizers and their steps; those that the script makes without one
remakings.py        models made or loaded anew
schedules.py        learning-rate schedules
limits.py, stopping.py, files.py                how much is observed; the way to the stop; what must not be written

before_training.py  the trained model before its first step
plan.py             how long the script means to train
assemble.py         all of these as facts of the record, the data sets apart
scores.py           evaluations, and what the script made of them, as facts
inputs.py           data sets, tokenizer and the encoder's features as facts
"""
