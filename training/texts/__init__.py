"""From a file of labelled texts to batches of token ids.

formats.py      which format a file has: kind, encoding, separator, quotes
reading.py      the rows of a file, one at a time
columns.py      which columns hold the texts and the labels
tables.py       the labelled texts among the rows, and their classes
corrections.py  labels corrected by hand
refusal.py      what cannot be used, in one line
splitting.py    training and validation rows with no text on both sides
batches.py      tokenized once, batches of texts of like length
augment.py      training texts changed a little in each epoch
"""
