"""Texts to probabilities: tokenized while others are computed, in batches of so many tokens, equal ones once."""

from concurrent.futures import ThreadPoolExecutor

import numpy
import torch

from training.encoder.end_to_end import end_to_end
from training.texts.batches import tells_texts_apart

TEXTS_TOKENIZED = 512       # at once: while they are computed, the next ones are
CLOSE = 0.01                # apart: rows whose two best classes are closer are computed again, lest rounding swap them


def mixed_probabilities(model, precision, texts, seconds=None, batch_size=32, after=lambda rows: None):
    """The same as probabilities_of in the Precision given, in which rows whose label rounding might change are computed
    again without it."""
    with precision.autocast():
        probabilities = probabilities_of(model, texts, seconds, batch_size, after)
    if precision.dtype is not None and len(texts) and len(model.label_names) > 1:
        second, best = numpy.partition(probabilities, -2, axis=1)[:, -2:].T
        close = (best - second < CLOSE).nonzero()[0]
        some = [None if column is None else [column[row] for row in close] for column in (texts, seconds)]
        probabilities[close] = probabilities_of(model, *some, batch_size)
    return probabilities


def probabilities_of(model, texts, seconds=None, batch_size=32, after=lambda rows: None):
    """The classes' probabilities [texts, classes], float32, in the texts' order, by a model in evaluation mode.

    Texts of like length share a batch, which takes as many positions as batch_size texts of the model's full length;
    texts of the same tokens are computed once.

    Args:
        seconds: each text's partner, of a model of pairs of texts.
        after: called behind each batch with the number of texts that it gave their probabilities; may end it all by
            an exception.
    """
    probabilities = numpy.zeros((len(texts), len(model.label_names)), dtype=numpy.float32)
    columns = [texts] if seconds is None else [texts, seconds]
    typed = seconds is not None and tells_texts_apart(model.tokenizer)
    # by characters, about as by tokens; equal texts beside each other
    order = sorted(range(len(texts)), key=lambda row: (sum(len(column[row]) for column in columns), texts[row]))

    def tokenized(rows):
        return rows, model.tokenizer(*([column[row] for row in rows] for column in columns), truncation=True,
                                     max_length=model.max_length, return_attention_mask=False,
                                     return_token_type_ids=typed)

    shares = [order[start:start + TEXTS_TOKENIZED] for start in range(0, len(order), TEXTS_TOKENIZED)]
    for rows, tokens in one_ahead(tokenized, shares) if len(shares) > 1 else map(tokenized, shares):
        types = tokens["token_type_ids"] if typed else [()] * len(rows)
        rows_of = {}        # of each text of its own tokens
        for row, key in zip(rows, zip(map(tuple, tokens["input_ids"]), map(tuple, types))):
            rows_of.setdefault(key, []).append(row)
        for batch in batches_of(sorted(rows_of, key=lambda key: len(key[0])), batch_size * model.max_length):
            numbers = numpy.repeat(numpy.arange(len(batch)), [len(rows_of[key]) for key in batch])
            theirs = [row for key in batch for row in rows_of[key]]
            probabilities[theirs] = computed(model, *zip(*batch))[numbers]
            after(len(theirs))
    return probabilities


def one_ahead(function, items):
    """function(item) of each item, the next one's at work in a thread meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        under_way = None
        for item in items:
            before, under_way = under_way, thread.submit(function, item)
            if before is not None:
                yield before.result()
        if under_way is not None:
            yield under_way.result()


def batches_of(texts, positions):
    """Lists of (ids, types), sorted by length, that padded would take at most so many positions, or are one text."""
    batch = []
    for text in texts:
        if batch and (len(batch) + 1) * len(text[0]) > positions:
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


@torch.no_grad()
def computed(model, ids, types):
    """The probabilities [texts, classes] of one batch's token ids and token types, empty where there are none."""
    device, lengths = model.device(), torch.tensor(list(map(len, ids)))
    width = int(lengths.max())
    inputs = {"input_ids": padded(ids, width, model.tokenizer.pad_token_id or 0),
              "attention_mask": (torch.arange(width) < lengths[:, None]).long()}
    if types[0]:
        inputs["token_type_ids"] = padded(types, width, 0)
    inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
    logits = model(**inputs, layout=end_to_end(lengths, width).to(device))
    return logits.float().div(model.temperature).softmax(dim=-1).cpu().numpy()


def padded(rows, width, filling):
    """Rows of numbers as one tensor [rows, width]."""
    filled = numpy.full((len(rows), width), filling, dtype=numpy.int64)
    for place, row in enumerate(rows):
        filled[place, :len(row)] = row
    return torch.from_numpy(filled)
