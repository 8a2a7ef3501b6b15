"""The doctor: why does this fine-tuning run not learn?

record.py       what an examination writes down: facts, no judgement
facts.py        from live models, optimizers, schedules and batches to those facts
observer.py     watches a script train and fills the record (child.py runs the script under it)
passes.py       its part for forward passes, losses and backward calls
steps.py        its part for optimizer steps and schedules
seen.py         what it holds of a pass, a loader, a schedule
graph.py        what tensors and the autograd graph behind them tell
patches.py      puts the observer's eyes into torch and transformers
source.py       what is read in the script's source and frames: lines, loops and their counts, calls
nested.py       nested batches and model outputs: their leaves
replay.py       one recorded training batch, to be run again through copies of the model
examples.py     other rows of the script's data sets, read with its own loaders
assemble.py     at the stop: from what was seen and the live objects to the finished record
inputs.py       the same for the data sets, the tokenizer and the encoder's features
controls.py     small controlled experiments that separate data, model and optimization
look.py         the part that needs no training, for a script's own look before its first epoch
faults/         one file per fault: its check and its explanation
judge.py        every check on one record, findings in order of cause
report.py       the screen, report.json, report.md and the two pictures
run_report.py   report.html of a training run, from the template run_report.html
examine.py      one examination from start to end: run, watch the time, judge, report
"""
