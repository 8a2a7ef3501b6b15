"""nearly every training label is one class

What it is
    A comparison that is never true ("Postive"), a mapping whose default swallows the rest, a filter, or the first
    part of a sorted file: 97 % of the training labels or more are the same.

How it shows
    The loss falls to almost nothing within a few steps and the accuracy is splendid; every prediction is that class.

How it is found
    The labels of the whole training set are counted (or of a random part of it). The first batches of a sorted file
    do not count: that is not-shuffled.

Wrong
    labels = [1 if label == "postive" else 0 for _, label in rows]

Right
    names = sorted({label for _, label in rows})
    labels = [names.index(label) for _, label in rows]

Not to be confused with
    class-imbalance: rare classes that are there (up to 97 % for the largest). Spam or fraud that really is rarer than
    that: then weights in the loss or in the sampler are needed, and with them this check is silent.
"""

from collections import Counter

from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import IGNORED, drawn_at_random, known_training_labels, rebalanced

GROUP = "data"
EFFECT = "stops"
CAUSED_BY = ("label-out-of-range", "rows-repeated")
NO_TRIAL = "no change of the run brings rows of other classes"

NEARLY_ALL = 0.97
ENOUGH = 20                 # labels


def check(record):
    labels, whole = known_training_labels(record)
    labels = [label for label in labels if label != IGNORED]
    if len(labels) < ENOUGH:
        return NotMeasured(f"only {len(labels)} training labels are known")
    largest, count = Counter(labels).most_common(1)[0]
    share = count / len(labels)
    if share < NEARLY_ALL:
        return None
    if not whole and not drawn_at_random(record.training):
        return NotMeasured(f"only the first {len(labels)} training labels are known, and the loader does not shuffle")
    if share < 1 and rebalanced(record):
        return None
    return Finding(
        "error", f"{percent(share)} of the training labels are {record.class_named(largest)}", {
            "labels": len(labels), "class": largest, "share": rounded(share),
            "counts": {str(label): number for label, number in Counter(labels).most_common(10)},
            "all_rows_counted": whole},
        "The model needs to look at no text to be right, so it learns to say that class.",
        "Look at the line that makes the labels: count them right after it. If the data really is so, weight the "
        "classes and judge by macro-F1.",
        record.training.made)
