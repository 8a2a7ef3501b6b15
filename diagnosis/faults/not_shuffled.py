"""batches come ordered by class

What it is
    The file is sorted by label and the loader takes it as it lies (shuffle is False unless it is asked for), or a
    sampler draws one class after the other.

How it shows
    The training loss is splendid within a class and jumps where the next begins; the model says whatever class came
    last, and validation stays at chance.

How it is found
    Labels in the order in which they came: how often two rows of a batch bear the same label, against random orders of
    the same labels (of the whole training set's, where they are known). A z-score and the size of the difference.

Wrong
    from torch.utils.data import DataLoader
    by_class = sorted(zip(texts, labels), key=lambda row: row[1])
    loader = DataLoader(by_class, batch_size=8, collate_fn=collate)

Right
    from torch.utils.data import DataLoader
    by_class = sorted(zip(texts, labels), key=lambda row: row[1])
    loader = DataLoader(by_class, batch_size=8, collate_fn=collate, shuffle=True)

Not to be confused with
    A loader that does not shuffle a file in random order: harmless. Batches made of texts of like length.
    labels-single-class, where there is nothing to shuffle.
"""

from collections import Counter

import numpy as np

from diagnosis.cures import mends
from diagnosis.record.arithmetic import rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import SEED, drawn_at_random, training_batches

GROUP = "data"
EFFECT = "stops"
CAUSED_BY = ("labels-single-class", "label-out-of-range", "rows-repeated")
NO_TRIAL = "how the rows are drawn is in no DataLoader that could be made otherwise"

DEVIATIONS = 5              # z from which on the order is not random
WARNING, ERROR = 0.2, 0.5   # 0: as in random order, 1: one class per batch
ENOUGH, BATCHES = 48, 5     # labels, and batches, seen
SHORTEST = 8                # rows that are taken together where batches are smaller
ORDERS = 300                # random orders drawn


def check(record):
    split = record.training
    if split.shuffled:
        return None
    order = split.order_labels or [label for batch in record.batches_of("training") for label in batch.labels or []]
    sizes = [batch.rows for batch in training_batches(record) if batch.rows]
    size = max(SHORTEST, split.batch_size or (Counter(sizes).most_common(1)[0][0] if sizes else 0))
    if split.batches == 1:
        return None             # one batch holds everything
    if len(order) < ENOUGH or len(order) < BATCHES * size:
        return NotMeasured(f"only {len(order)} labels were seen in the order of the batches")
    whole = split.labels if drawn_at_random(split) and len(split.labels) >= ENOUGH else order
    if len(set(whole) | set(order)) < 2:
        return NotMeasured("a single label was seen")

    generator = np.random.default_rng(SEED)
    found, expected, spread = _same_label(order, size), *_random_orders(generator, whole, len(order), size)
    effect = (found - expected) / max(1e-9, 1 - expected)
    if effect < WARNING or (found - expected) / max(spread, 1e-9) < DEVIATIONS:
        return None
    return Finding(
        "error" if effect >= ERROR else "warning", "the batches come ordered by class", {
            "labels_seen": len(order), "rows_per_batch": size, "same_label_in_a_batch": rounded(found),
            "same_label_in_random_order": rounded(expected), "z": rounded((found - expected) / max(spread, 1e-9)),
            "share_of_full_order": rounded(effect), "sampler": split.sampler, "first_labels": order[:32]},
        "Each step pulls the model towards the one class of its batch, and it forgets the others.",
        "Give the training DataLoader shuffle=True (and leave the validation loader as it is).",
        split.made)


def _same_label(order, size):
    """Share of the pairs of rows in one batch that bear the same label."""
    codes = np.unique(order, return_inverse=True)[1][:len(order) // size * size].reshape(-1, size)
    counts = (codes[:, :, None] == np.arange(codes.max() + 1)).sum(1)
    return float((counts * (counts - 1)).sum() / (len(codes) * size * (size - 1)))


def _random_orders(generator, whole, length, size):
    """Mean and standard deviation of the same over random orders of the whole set's labels, as many as were seen."""
    whole = np.resize(np.array(whole), max(length, len(whole)))
    drawn = [_same_label(generator.permutation(whole)[:length], size) for _ in range(ORDERS)]
    return float(np.mean(drawn)), float(np.std(drawn))


def mend(record):
    return mends.shuffled(record)
