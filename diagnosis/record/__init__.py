"""What is written down, and the reading of live objects and sources that it is written from:

arithmetic.py   shares, medians, norms, rounding, the loss of guessing
notebook.py     a notebook's cells as one Python source
source.py       lines, loops and their counts, calls: from the script's source and frames
origins.py      where a value that acts in one line is set
nested.py       the leaves of nested batches and model outputs
graph.py        norms, signs and operations: from tensors and the autograd graph behind them
structure.py    encoders known by their structure
facts.py        from live models, optimizers, schedules, encoders and batches to facts
examples.py     rows of the script's data sets, read with its own loaders
record.py       the facts of one run, and nothing that judges them; as JSON between processes
"""
