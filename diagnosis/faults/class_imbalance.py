"""the largest class outweighs the smallest so far that accuracy misleads

What it is
    One class makes up 85 % of the training rows or more, or it makes up 60 % and is ten times the smallest.

How it shows
    The accuracy looks good from the first epoch and does not move; macro-F1 is that of guessing; rare classes are
    never predicted.

How it is found
    The training labels are counted. It is no fault where the loss bears class weights, where the sampler draws the
    classes evenly, or where the validation batches show a macro-F1 well above that of naming the largest class.

Wrong
    good = [row for row in rows if row[1] == "good"]
    rows = good + [row for row in rows if row[1] == "bad"][:10]
    loss_function = nn.CrossEntropyLoss()

Right
    good = [row for row in rows if row[1] == "good"]
    rows = good + [row for row in rows if row[1] == "bad"][:10]
    counts = torch.tensor([10.0, len(good)])
    loss_function = nn.CrossEntropyLoss(weight=counts.sum() / (len(counts) * counts))

Not to be confused with
    Ordinary differences: 17 to 30 % over four classes, 80 to 20 over two, a long tail of many classes none of which
    is large. These cost little and need no remedy.
"""

import re
from collections import Counter

from sklearn.metrics import f1_score

from diagnosis.faults import labels_single_class
from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import (IGNORED, drawn_at_random, known_training_labels, predictions, rebalanced,
                                        scored_batches)

GROUP = "data"
EFFECT = "misleads"
CAUSED_BY = ("labels-single-class", "label-out-of-range", "rows-repeated")
SET_BY = "class_weights"
NO_TRIAL = "no change of the run brings rows of other classes"

MAJORITY = 0.85             # of all rows: the accuracy of looking at no text
LARGE, TIMES = 0.60, 10     # or: a class of this share that is so many times the smallest
ENOUGH = 100                # labels
F1_GAIN = 0.15              # macro-F1 above that of always naming the largest class


def check(record):
    labels, whole = known_training_labels(record)
    labels = [label for label in labels if label != IGNORED]
    if len(labels) < ENOUGH:
        return NotMeasured(f"only {len(labels)} training labels are known")
    counts = Counter(labels).most_common()
    (largest, most), (smallest, fewest) = counts[0], counts[-1]
    share, times = most / len(labels), most / fewest
    if share < MAJORITY and (share < LARGE or times < TIMES):
        return None
    if not whole and not drawn_at_random(record.training):
        return NotMeasured("only the first training labels are known, and the loader does not shuffle")
    if rebalanced(record) or _rare_classes_are_found(record):
        return None
    if share >= labels_single_class.NEARLY_ALL:
        return NotMeasured("nearly every label is one class: see labels-single-class")
    return Finding(
        "warning", f"{record.class_named(largest)} has {percent(share)} of the training rows, {times:.0f} times "
        f"{record.class_named(smallest)}", {
            "labels": len(labels), "counts": {str(label): number for label, number in counts[:20]},
            "largest_share": rounded(share), "largest_over_smallest": rounded(times)},
        f"Always naming {record.class_named(largest)} gives an accuracy of {percent(share)}, so that accuracy says "
        "nothing, and rare classes hardly count in the loss.",
        f"Judge by macro-F1, and {_balance(record)}.",
        record.training.made)


def _balance(record):
    """What to do about it: the script's own switch where it has one that is off."""
    setting = record.setting("class_weights")
    if setting is not None and setting.site is not None and re.search(r"=\s*False\b", setting.site.code):
        return f"set {setting.name}=True"
    return "give the loss class weights (or the loader a WeightedRandomSampler)"


def _rare_classes_are_found(record):
    """The last validation batches show a macro-F1 well above that of naming the largest class."""
    batches = scored_batches(record, "validation")
    if not batches:
        return False
    labels, said = predictions([batch for batch in batches if batch.step == batches[-1].step])
    if len(labels) < ENOUGH or len(set(labels)) < 2:
        return False
    largest = Counter(labels).most_common(1)[0][0]
    guessing = f1_score(labels, [largest] * len(labels), average="macro", zero_division=0)
    return f1_score(labels, said, average="macro", zero_division=0) >= guessing + F1_GAIN
