"""Small controlled experiments that separate data, model and optimization, in the order in which data flows.

replay.py     one recorded training batch, to be run again through copies of the model
live.py       what a control is given (the script's live objects) and may answer
data.py       can the labels be predicted from the inputs at all?
rows.py       does the model treat each row of a batch for itself?
training.py   does a copy of the model learn: with a plain optimizer, with the script's own, at which rate?
controls.py   all of them in turn, within a time box
"""
