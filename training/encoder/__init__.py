"""The pre-trained encoder.

finding.py      where it comes from, and where its layers are
pooling.py      what the head is given of a text
end_to_end.py   a batch's texts in one row, so that no padding is computed
frozen.py       its frozen layers run once for each text
hub_format.py   a saved classifier as transformers' own classes read it
processor.py    what makes it faster on a CPU
"""
