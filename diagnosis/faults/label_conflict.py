"""the same text bears different labels

What it is
    Identical texts stand in the training set with contradicting labels: annotators who disagreed and were not
    reconciled, two files merged with different rules, one row per label of a text that has several.

How it shows
    The training loss stops above zero however long one trains, and the accuracy has a ceiling.

How it is found
    Rows whose tokens are the same are grouped; a row contradicts if its label is not the most common one of its
    group. No model of the text can get such a row right together with its twins. Empty rows are left out.

Wrong
    rows = rows + [(text, "good" if label == "bad" else "bad") for text, label in rows]

Right
    by_text = {}
    for text, label in rows:
        by_text.setdefault(text, []).append(label)
    rows = [(text, max(set(found), key=found.count)) for text, found in by_text.items()]

Not to be confused with
    text-constant and text-truncated: different texts that have become the same on their way to the model.
    labels-random, where texts that occur several times disagree because no label has to do with its text.
    A few in a hundred, which is how people label.
"""

from collections import Counter

import numpy as np

from diagnosis.faults import text_truncated
from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import SEED, contents, groups_of

GROUP = "data"
EFFECT = "slows"
CAUSED_BY = ("text-constant", "text-unknown", "labels-random")
NO_TRIAL = "which of the labels is right is for the data to say"

WARNING, ERROR = 0.02, 0.10     # share of the rows that contradict their twins: accuracy that no model can reach
ENOUGH = 50                     # rows
PART = 0.5                      # of all rows must be known before twins that do not meet mean anything
PERMUTATIONS = 100


def check(record):
    split = record.training
    if not split.examples or len(split.labels) < len(split.examples):
        return NotMeasured("the training examples and their labels are not known")
    if len(split.examples) < ENOUGH:
        return NotMeasured(f"only {len(split.examples)} training rows are known")
    if text_truncated.leaves_scraps(record):
        return NotMeasured("truncation leaves a few tokens of each text (text-truncated), which makes texts equal")
    rows, labels = _rows_and_labels(split)
    groups = [[labels[place] for place in places] for places in groups_of(rows).values()]
    contradicting = sum(len(group) - max(Counter(group).values()) for group in groups)
    concerned = sum(len(group) for group in groups if len(set(group)) > 1)
    share = contradicting / len(rows) if rows else 0.0
    known = 1.0 if split.complete or not split.rows else len(split.examples) / split.rows
    if share < WARNING:
        return None if known >= PART else NotMeasured(
            f"{len(split.examples)} of {split.rows} training rows are known: too few for equal texts to meet")
    return Finding(
        "error" if share >= ERROR else "warning",
        f"{percent(concerned / len(rows))} of the training rows occur again with another label", {
            "rows": len(rows), "rows_with_another_label": concerned, "rows_against_their_twins": contradicting,
            "share_against_their_twins": rounded(share), "best_possible_accuracy": rounded(1 - share),
            "known_share_of_rows": rounded(known)},
        f"No model of the text can be right on more than {percent(1 - share)} of these rows, and twins pull its "
        "weights in opposite directions.",
        "Keep each text once, with the label most of its copies bear, or drop the texts that are in dispute.",
        split.made)


def arranged(record):
    """Twins disagree far more often than labels drawn at random would: the contradiction is in the data as such."""
    split = record.training
    if not split.examples or len(split.labels) < len(split.examples):
        return False
    rows, labels = _rows_and_labels(split)
    groups = [places for places in groups_of(rows).values() if len(places) > 1]
    twins = [place for places in groups for place in places]
    if len(twins) < 0.3 * len(rows) or len(twins) < ENOUGH:
        return False
    owner = np.repeat(np.arange(len(groups)), [len(places) for places in groups])
    labels = np.array(labels)
    found = _disagreement(owner, labels[twins])
    generator = np.random.default_rng(SEED)
    permuted = [_disagreement(owner, generator.permutation(labels)[:len(twins)]) for _ in range(PERMUTATIONS)]
    return found > np.mean(permuted) + 4 * np.std(permuted)


def _rows_and_labels(split):
    """The training rows that are not empty, and their labels."""
    pairs = [(row, label) for row, label in zip(contents(split.examples), split.labels) if row]
    return [row for row, _ in pairs], [label for _, label in pairs]


def _disagreement(owner, labels):
    """Share of the pairs of rows in one group that bear different labels. owner: the group of each row."""
    table = np.zeros((owner.max() + 1, len(np.unique(labels))))
    np.add.at(table, (owner, np.unique(labels, return_inverse=True)[1]), 1)
    sizes = table.sum(1)
    pairs = (sizes * (sizes - 1)).sum()
    return 1 - (table * (table - 1)).sum() / pairs
