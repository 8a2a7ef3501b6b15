"""a label lies outside 0 … classes − 1, or is silently left out by the loss

What it is
    A model with four outputs knows the classes 0, 1, 2 and 3. Labels that begin at 1, a label of -1 for "unknown" or
    text labels mapped to wrong numbers point at an output that does not exist. The label -100 (or whatever is given as
    ignore_index) is worse: the loss leaves such rows out without a word.

How it shows
    On a CPU "IndexError: Target 4 is out of bounds", on a GPU a "device-side assert" at a later, innocent line. With
    ignored labels there is no message: the class they belong to is never learned.

How it is found
    The labels as the loss saw them, and those of the whole training set, are held against the number of outputs; the
    rows that the loss ignores are counted. With one output and a binary loss the labels must be 0 and 1.

Wrong
    ids = {"bad": 1, "good": 2}
    labels, validation_labels = ([ids[label] for _, label in part] for part in (rows, validation_rows))

Right
    ids = {"bad": 0, "good": 1}
    labels, validation_labels = ([ids[label] for _, label in part] for part in (rows, validation_rows))

Not to be confused with
    head-mismatch: there the labels are numbered rightly from 0, but there are more of them than outputs.
    -100 on the pieces of a word in token classification, where it is meant.
"""

import re

from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import (BINARY_LOSSES, IGNORED, classes_that_fit, crash_line, known_training_labels,
                                        number_of_outputs, training_batches, training_loss_function)

GROUP = "data"
EFFECT = "stops"
CAUSED_BY = ("loss-mismatched", "label-mismatch")

IGNORED_WARNING = 0.01      # a few unlabelled rows may be meant
IGNORED_ERROR = 0.10
OUT_OF_BOUNDS = re.compile(r"Target (-?\d+) is out of bounds|index (-?\d+) is out of bounds")


def check(record):
    batches = training_batches(record)
    known, whole = known_training_labels(record)
    labels = set(known) | {label for batch in batches for label in batch.labels or []}
    if not labels:
        return NotMeasured("no labels were seen")
    ignored, rows = sum(batch.ignored for batch in batches), sum(batch.rows for batch in batches)
    if rows and ignored / rows >= IGNORED_WARNING:
        return _left_out(ignored, rows, labels, batches)

    outputs, loss_function = number_of_outputs(record), training_loss_function(record)
    crashed = record.crash is not None and OUT_OF_BOUNDS.search(record.crash.message)
    classes = classes_that_fit(outputs, loss_function) or (outputs if crashed else None)
    if classes is None:
        return NotMeasured("the number of outputs is not known") if outputs is None else None
    labels.discard(IGNORED)
    outside = sorted(label for label in labels if not 0 <= label < classes)
    if ignored and record.crash is None and all(label < 0 for label in outside):
        outside = []            # the few that the loss leaves out
    if outside and not _too_many_classes(labels, classes, whole):
        return _outside(record, labels, outside, "training", batches)
    return None if outside else _outside_in_validation(record, classes)


def _too_many_classes(labels, classes, whole):
    """More classes than outputs, numbered from 0: then the head is at fault (head-mismatch), not the labels."""
    if min(labels) < 0:
        return False
    # Of a few labels out of many we cannot count the classes: a label far beyond the outputs tells enough.
    return len(labels) > classes or (not whole and len(labels) < classes and max(labels) >= classes + 1)


def _outside(record, labels, outside, role, batches):
    outputs, loss_function = number_of_outputs(record), training_loss_function(record)
    evidence = {"labels": sorted(labels)[:20], "outside": outside[:20], "outputs": outputs, "loss": loss_function,
                "set": role}
    if record.crash is not None:
        evidence["crash"] = crash_line(record.crash)
    binary = loss_function in BINARY_LOSSES
    allowed = "0 and 1" if binary else f"0 to {outputs - 1}"
    consequence = ("a binary loss has no lower bound there and runs away" if binary else
                   "torch stops with an error (on a GPU at a later line)")
    return Finding(
        "error", f"{role} labels {', '.join(map(str, outside[:5]))} lie outside {allowed}", evidence,
        f"There is no output for such a label: {consequence}.",
        f"Number the classes {allowed}, for instance with {{name: number for number, name in "
        "enumerate(sorted(set(names)))}, and use the same numbers everywhere.",
        record.crash.site if record.crash and record.crash.site else (batches[-1].site if batches else None))


def _outside_in_validation(record, classes):
    """Labels of the validation set with which the loss could not be computed there."""
    loss_function = training_loss_function(record)
    validated = [batch for batch in record.batches_of("validation") if batch.loss_function == loss_function]
    labels = {label for batch in validated for label in batch.labels or []} - {IGNORED}
    outside = sorted(label for label in labels if not 0 <= label < classes)
    if not outside or record.crash is None:
        return None
    return _outside(record, labels, outside, "validation", validated)


def _left_out(ignored, rows, labels, batches):
    share = ignored / rows
    return Finding(
        "error" if share >= IGNORED_ERROR else "warning",
        f"the loss leaves out {percent(share)} of the training rows", {
            "rows": rows, "ignored_rows": ignored, "ignored_share": rounded(share), "labels": sorted(labels)[:20]},
        "Rows with the loss's ignore_index (-100 unless told otherwise) give no gradient and no message: what they "
        "stand for is not learned.",
        "Give these rows a label from 0 on, or take them out of the training set knowingly.",
        next((batch.site for batch in batches if batch.ignored and batch.site), None))
