"""A finding's cure is tried: the script runs again with one thing mended, and the two runs are compared.

mends.py        what can be changed in a run, in words and by the names of the changes that it is made of
trials.py       which mends are tried in which order, each in a process of its own (of child.py)
comparing.py    what a trial showed: the run mended against the run as it is

In the script's process, put in place after the observer's patches and observed by them:

changes.py      the changes by name
events.py       when they act: before a pass, around backward, around an optimizer step
to_steps.py     optimizer, rates, gradients, clipping, data
to_the_model.py mode, freezing, layers, loss, mask, precision
"""
