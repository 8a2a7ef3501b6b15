"""From a file of labelled texts to batches of token ids.

reading.py      the rows of a file, one at a time
tables.py       the labelled texts among them, and their classes
splitting.py    training and validation rows with no text on both sides
batches.py      tokenized once, batches of texts of like length
augment.py      training texts changed a little in each epoch
"""
