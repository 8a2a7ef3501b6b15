"""a label lies outside 0 … classes − 1, or is silently left out by the loss

What it is
    A model with four outputs knows the classes 0, 1, 2 and 3. Labels that begin at 1, a label of -1 for "unknown" or
    text labels mapped to wrong numbers point at an output that does not exist. The label -100 (or whatever is given as
    ignore_index) is worse: the loss leaves such rows out without a word.

How it shows
    On a CPU "IndexError: Target 4 is out of bounds", on a GPU a "device-side assert" at a later, innocent line. With
    ignored labels there is no message: the class they belong to is never learned. Public benchmarks keep the labels of
    their test sets to themselves and give -1: an accuracy worked out on them is 0, whatever the model says.

How it is found
    The labels as the loss saw them, and those of the whole training set, are held against the number of outputs; the
    rows that the loss ignores are counted. With one output and a binary loss the labels must be 0 and 1. The labels
    that the script holds its predictions against in validation are looked at in the same way.

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

from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import (BINARY_LOSSES, IGNORED, classes_that_fit, crash_line, crashed_on_label,
                                        known_training_labels, number_of_outputs, training_batches,
                                        training_loss_function)

GROUP = "data"
EFFECT = "stops"
CAUSED_BY = ("loss-mismatched", "label-mismatch")
NO_TRIAL = "which class these labels mean is for the data to say"

IGNORED_WARNING = 0.01      # a few unlabelled rows may be meant
IGNORED_ERROR = 0.10
SCORED_OUTSIDE = 0.01       # of the labels that predictions are held against


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
    crashed = crashed_on_label(record)
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
    if crashed_on_label(record):
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
        crashed_on_label(record) and record.crash.site or (batches[-1].site if batches else None))


def _outside_in_validation(record, classes):
    """Labels of the validation set that no output stands for, where the script computed a loss or a score with them."""
    loss_function = training_loss_function(record)
    validated = [batch for batch in record.batches_of("validation") if batch.loss_function == loss_function]
    labels = {label for batch in validated for label in batch.labels or []} - {IGNORED}
    outside = sorted(label for label in labels if not 0 <= label < classes)
    if outside and record.crash is not None:
        return _outside(record, labels, outside, "validation", validated)
    for scored in record.scored:
        without_output = [label for label in scored.labels if isinstance(label, int) and not 0 <= label < classes]
        if len(without_output) >= SCORED_OUTSIDE * len(scored.labels) and not _renumbered(scored, classes):
            return _scored_outside(scored, without_output, classes)
    return None


def _renumbered(scored, classes):
    """The script calls the classes by other numbers throughout: predictions and labels alike."""
    known = [label for label in scored.labels if isinstance(label, int)]
    return len(set(known)) == classes and set(scored.predictions) <= set(known)


def _scored_outside(scored, outside, classes):
    share = len(outside) / len(scored.labels)
    return Finding(
        "error" if share >= IGNORED_ERROR else "warning",
        f"{percent(share)} of the validation labels that are scored lie outside 0 to {classes - 1} "
        f"({', '.join(map(str, sorted(set(outside))[:5]))})",
        {"set": "validation", "rows": len(scored.labels), "rows_outside": len(outside),
         "outside": sorted(set(outside))[:20], "outputs": classes},
        "No prediction can be such a label, so these rows count as wrong however well the model learned.",
        "Evaluate on rows whose labels are known: public benchmarks give -1 for those of their test set, so take the "
        "validation set or a part of the training set.", scored.site, effect="misleads")


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
