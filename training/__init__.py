"""What stands behind the training script and the model, in the order in which a run goes through it.

constants.py    constants at the top of a script, read and overridden by name
settings.py     a run's constants, held to their bounds
texts/          from a file of labelled texts to batches of token ids
encoder/        where the encoder comes from, and what makes it fast
run/            what a run is made of beside its loop: data, optimization, states, what it says
report/         the page of a run
precision.py    what a forward pass computes in: float32, or mixed where the device is good at it
predicting.py   texts to probabilities
scoring.py      a table scored
export.py       a saved model as ONNX
files.py        files that are whole or not there
memory.py       how much there is, how it is kept, and what says that it was not enough
"""
