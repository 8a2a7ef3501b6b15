"""the number of outputs is not the number of classes

What it is
    num_labels or the last Linear does not fit the labels: a default of 2 for four classes, a number copied from
    another task, one output where there are several classes, no head at all.

How it shows
    Too few outputs: "Target 3 is out of bounds", "Expected input batch_size (64) to match target batch_size (32)", or
    on a GPU a device-side assert. Too many: it runs, begins at a higher loss, and may name classes that do not exist.

How it is found
    The width of the logits as the loss saw them, and the different labels of the training and validation sets.

Wrong
    head = nn.Linear(32, 10)        # for labels of two classes

Right
    names = sorted({label for _, label in rows})
    head = nn.Linear(32, len(names))

Not to be confused with
    label-out-of-range: as many classes as outputs, but numbered from 1, or -1 among them. One output with a binary
    loss for two classes, or for a regression. A class without an example in a small sample.
"""

import re

from diagnosis.cures import mends
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import (BINARY_LOSSES, IGNORED, classes_that_fit, crash_line, crashed_on_label,
                                        drawn_at_random, known_training_labels, number_of_outputs, training_batches,
                                        training_loss_function)

GROUP = "model"
EFFECT = "stops"
CAUSED_BY = ("loss-mismatched", "label-out-of-range", "labels-single-class", "label-mismatch")
NO_TRIAL = "the number of classes is not known"

ROWS_PER_OUTPUT = 25        # labels that must be known for each output before a class can be called missing
UNUSED = 0.06               # share of the outputs that may lack a class: one of twenty
SHAPES = (re.compile(r"Expected input batch_size \((\d+)\) to match target batch_size \((\d+)\)"),
          re.compile(r"Target size \(torch\.Size\(\[(\d+)\]\)\) must be the same as input size "
                     r"\(torch\.Size\(\[(\d+), (\d+)\]\)\)"),
          re.compile(r"shape '\[-1, (\d+)\]' is invalid for input of size (\d+)"))


def check(record):
    outputs, loss_function = number_of_outputs(record), training_loss_function(record)
    known, whole = known_training_labels(record)
    labels = {label for label in known if label != IGNORED}
    labels |= {label for batch in training_batches(record) for label in batch.labels or [] if label != IGNORED}
    by_shape = _shapes_disagree(record, outputs, len(labels))
    if by_shape is not None:
        return by_shape
    if outputs is None or not labels:
        return NotMeasured("the number of outputs or the labels are not known")
    fits = classes_that_fit(outputs, loss_function)
    if fits is None and crashed_on_label(record):
        fits = outputs
    if fits is None:
        return None             # regression, several labels per row, or a loss of the script's own
    if min(labels) >= 0 and _more_classes_than(fits, labels, whole):
        return _too_few(record, outputs, labels, loss_function)
    if loss_function in BINARY_LOSSES or len(labels) < 2 or max(labels) >= outputs:
        return None
    return _too_many(record, outputs, labels, known, whole)


def _more_classes_than(fits, labels, whole):
    """As in label-out-of-range, its other half: few labels of many classes may show but one that lies far beyond."""
    return len(labels) > fits or (not whole and len(labels) < fits and max(labels) >= fits + 1)


def _too_few(record, outputs, labels, loss_function):
    evidence = {"outputs": outputs, "classes": len(labels), "labels": sorted(labels)[:20], "loss": loss_function}
    if crashed_on_label(record):
        evidence["crash"] = crash_line(record.crash)
    return _finding(record, "error", f"the model has {_outputs(outputs)} for {len(labels)} classes", evidence,
                    "Classes without an output cannot be predicted, and their labels break the loss.")


def _too_many(record, outputs, labels, known, whole):
    """Outputs that no training or validation row ever needs; silent while too few labels are known."""
    every = labels | set(record.validation.labels if record.validation is not None else [])
    if len(every) >= outputs * (1 - UNUSED):
        return None
    if not whole and not (drawn_at_random(record.training) and len(known) >= ROWS_PER_OUTPUT * outputs):
        return NotMeasured(f"{len(known)} labels are too few to call one of {outputs} classes missing")
    return _finding(record, "warning", f"the model has {outputs} outputs for {len(every)} classes",
                    {"outputs": outputs, "classes": len(every), "labels": sorted(every)[:20],
                     "labels_known": len(known)},
                    "Outputs without a class take part in the softmax and must first be learned away; a wrong label "
                    "beyond the classes would go unnoticed.")


def _shapes_disagree(record, outputs, classes):
    """Shape errors that come of a head of another width than the loss is told of."""
    if record.crash is None:
        return None
    rows = record.batches[-1].rows if record.batches else record.training.batch_size
    found = next((match for shape in SHAPES if (match := shape.search(record.crash.message))), None)
    if found is None:
        return None
    numbers = [int(number) for number in found.groups()]
    evidence = {"crash": crash_line(record.crash), "classes": classes}
    if len(numbers) == 3:                       # a binary loss with one label per row, and several outputs
        if numbers[2] == 1 or numbers[0] != numbers[1]:
            return None
        return _finding(record, "error", f"a binary loss gets {numbers[2]} outputs and one label per row",
                        evidence | {"outputs": numbers[2]},
                        "Such a loss needs one output for two classes; several outputs call for cross-entropy.")
    if found.re is SHAPES[0]:
        given, labelled = numbers
        width = record.batches[-1].width if record.batches else None
        if given == labelled or max(given, labelled) % min(given, labelled) or given == labelled * (width or 0):
            return None
        return _finding(record, "error", f"the head's outputs are read as {given} rows for {labelled} labels",
                        evidence | {"rows_of_logits": given, "labels": labelled, "outputs_as_read": outputs},
                        "The head has another width than num_labels, so reshaping its outputs gives other rows.")
    wanted, size = numbers
    if not rows or size % rows or size // rows == wanted:
        return None
    return _finding(record, "error", f"the head has {size // rows} outputs where {wanted} are expected",
                    evidence | {"outputs": size // rows, "outputs_expected": wanted},
                    "The head has another width than num_labels, so its outputs cannot be read as rows.")


def _outputs(number):
    return "1 output" if number == 1 else f"{number} outputs"


def _finding(record, level, title, evidence, why):
    crashed = record.crash.site if "crash" in evidence else None
    return Finding(
        level, title, evidence, why,
        "Make the head from the labels: num_labels=len(names) where names = sorted(set(training labels)), with "
        "cross-entropy.",
        crashed or next((batch.site for batch in training_batches(record) if batch.site), None))


def mend(record):
    classes = max(known_training_labels(record)[0], default=0) + 1
    return mends.head_for(record, classes) if classes > 1 else None
