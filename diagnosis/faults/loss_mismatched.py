"""a loss of another kind than the labels

What it is
    The loss function expects something else than it is given: squared error on class numbers, which makes a regression
    of a classification (transformers does that by itself for num_labels=1, and takes float labels for several labels
    per row); NLLLoss on logits; a binary loss on log-probabilities or on class numbers above 1.

How it shows
    The loss is negative or falls without end (NLLLoss on logits, a binary loss with class numbers); or it looks fine
    and the predictions crowd around the middle class (squared error); or torch refuses the shapes or the values.

How it is found
    The loss function's name, the range and width of its target, and whether each row of its input holds
    log-probabilities (their exponentials add up to 1). One output under squared error is a regression and may be
    meant: it is an error where the script also calls what only classes need (argmax, accuracy_score, LabelEncoder ...)
    and nothing that scores numbers (mean_absolute_error, pearsonr ...), else a warning at most.

Wrong
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    loss = nn.NLLLoss()(logits, batch["labels"])

Right
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    loss = nn.CrossEntropyLoss()(logits, batch["labels"])

Not to be confused with
    double-softmax, where the loss is of the right kind; squared error between probabilities and one-hot rows, which
    learns; stars or other grades learned as numbers on purpose; multi-hot labels with a binary loss.
"""

import math

from diagnosis.cures import mends
from diagnosis.record.arithmetic import rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import (BINARY_LOSSES, CLASS_LOSSES, crash_line, known_training_labels,
                                        number_of_outputs, training_batches)

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("rows-mixed",)

SQUARED = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
LOG_PROBABILITIES = ("nll_loss", "kl_div")      # what these losses want
FOR_CLASSES = {"argmax", "accuracy_score", "balanced_accuracy_score", "f1_score", "classification_report",
               "confusion_matrix", "LabelEncoder", "factorize", "CrossEntropyLoss", "cross_entropy", "bincount"}
FOR_NUMBERS = {"mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2_score", "pearsonr",
               "spearmanr", "kendalltau", "cohen_kappa_score", "corr", "corrcoef", "abs"}
CLOSE = 0.05                # of the sum of a row's exponentials to 1, in nats
MOSTLY = 0.8                # of the rows
ENOUGH = 16                 # rows


def check(record):
    batches = [batch for batch in training_batches(record) if batch.loss_function]
    if not batches:
        return NotMeasured("no loss function of torch was seen")
    if any(batch.loss_has_graph is False for batch in batches):
        return NotMeasured("the loss does not depend on the model (loss-detached)")
    last, name = batches[-1], batches[-1].loss_function
    batches = [batch for batch in batches if batch.loss_function == name]
    if record.crash is not None and not record.optimizer_steps:
        return refused(record, last)
    if name in SQUARED:
        return squared(record, batches)
    if name in LOG_PROBABILITIES:
        return unlogged(batches) if log_probabilities(batches) is False else None
    if name in BINARY_LOSSES:
        return binary(batches)
    return None


def unlogged(batches):
    """NLLLoss and its kin on something else than log-probabilities."""
    given = "probabilities" if probabilities(batches) else "raw logits"
    return finding(batches, "error", f"{batches[-1].loss_function} is given {given}, not log-probabilities",
                   "It takes minus the entry of the right class for the loss: without the logarithm of a softmax no "
                   "other class is ever pushed down, and of raw logits it falls without end.",
                   "use CrossEntropyLoss on the raw logits, or put log_softmax(dim=-1) before it")


def squared(record, batches):
    """Squared or absolute error: a regression, or rows of probabilities against one-hot rows."""
    targets = [batch.target for batch in batches if batch.target is not None]
    outputs = batches[-1].outputs
    if not targets or not outputs:
        return NotMeasured("the loss's target was not seen")
    values = {label for batch in batches for label in batch.labels or []}
    if not all(target.whole for target in targets) or len(values) < 2:
        return None
    name, evidence = batches[-1].loss_function, {"different_labels": len(values)}
    if outputs > 1:
        if all(target.width == outputs for target in targets):
            return None
        return finding(batches, "error", f"{name} compares {outputs} outputs with one class number per row",
                       "The class number is stretched over all outputs, so that each of them learns the same number.",
                       "use CrossEntropyLoss, and give it the class numbers as integers", **evidence)
    classes = sorted(FOR_CLASSES.intersection(record.called))
    if FOR_NUMBERS.intersection(record.called) or len(values) == 2 and "argmax" not in classes:
        return None
    return finding(batches, "error" if classes and len(values) > 2 else "warning",
                   f"{name} learns the class numbers as quantities, by one output",
                   "A regression takes class 3 for three times class 1, and a text of either of two classes for the "
                   "one between them; its one output names no class.",
                   f"give the model one output per class (num_labels={len(values)}) and train with cross-entropy on "
                   "integer labels; transformers then chooses it by itself",
                   **evidence, script_calls=classes[:4])


def binary(batches):
    name = batches[-1].loss_function
    targets = [batch.target for batch in batches if batch.target is not None]
    values = {label for batch in batches for label in batch.labels or []}
    if targets and len(values) > 2 and all(target.width == 1 and target.whole for target in targets) \
            and max(target.highest for target in targets) > 1:
        return finding(batches, "error", f"{name} is given class numbers up to "
                       f"{max(target.highest for target in targets):g} where it knows 0 and 1",
                       "For a target above 1 the loss falls without end as the logit grows, so the model learns to say "
                       "one thing to every text.",
                       "use CrossEntropyLoss with one output per class; a binary loss wants 0 or 1 for every output",
                       different_labels=len(values))
    operations = [batch.last_operation for batch in batches]
    if 2 * operations.count("log_softmax") >= len(operations) or (
            log_probabilities(batches) and (batches[-1].outputs or 0) > 1):
        return finding(batches, "error", f"{name} is given log-probabilities",
                       "They are all below 0, so that no class can ever be said to be likely.",
                       "use NLLLoss on them, or BCEWithLogitsLoss on the raw logits with one output per label")
    return None


def refused(record, batch):
    """torch refuses what the loss was given, before the first step."""
    name, target, message = batch.loss_function, batch.target, record.crash.message
    evidence = {"crash": crash_line(record.crash)}
    one_number = target is not None and target.width == 1 and target.whole
    if one_number and (batch.outputs or 0) > 1 and name in BINARY_LOSSES + SQUARED and "size" in message:
        if target.highest > batch.outputs - 1 or not target.dtype.startswith("float"):
            return None             # head-mismatch
        return finding([batch], "error", f"{name} is given one class number per row for {batch.outputs} outputs",
                       "Labels that are floats are taken for quantities or for one 0 or 1 per output; transformers "
                       "chooses its loss by their type.",
                       "give the labels as integers: labels.long(), and leave problem_type out", **evidence)
    if name in CLASS_LOSSES and one_number and target.dtype.startswith("float") and "Long" in message:
        return finding([batch], "error", f"{name} is given class numbers as floats",
                       "It wants integers for classes; floats mean something else to it (probabilities).",
                       "give the labels as integers: labels.long()", **evidence)
    if name == "binary_cross_entropy" and "between 0 and 1" in message and batch.logits:
        outside = sum(not 0 <= value <= 1 for row in batch.logits for value in row)
        if outside:
            given = "log-probabilities" if log_probabilities([batch]) else "logits"
            return finding([batch], "error", f"{name} is given {given}, not probabilities",
                           "It takes the logarithm of what it is given, which must lie between 0 and 1.",
                           "use BCEWithLogitsLoss on the raw logits (or put a sigmoid before this loss)",
                           outside_0_to_1=outside, **evidence)
    return None


def log_probabilities(batches):
    """Do the exponentials of each row add up to 1? None where too few rows are known."""
    rows = [row for batch in batches for row in batch.logits or [] if len(row) > 1 and all(map(math.isfinite, row))]
    if len(rows) < ENOUGH:
        return None
    sums = [max(row) + math.log(sum(math.exp(value - max(row)) for value in row)) for row in rows]
    return sum(abs(value) < CLOSE for value in sums) >= MOSTLY * len(rows)


def probabilities(batches):
    rows = [row for batch in batches for row in batch.logits or []]
    return all(min(row) >= 0 and abs(sum(row) - 1) < CLOSE for row in rows)


def finding(batches, level, title, why, fix, **evidence):
    last, target = batches[-1], batches[-1].target
    evidence = {"loss_function": last.loss_function, "outputs": last.outputs, "batches": len(batches)} | evidence
    if target is not None:
        evidence |= {"target": target.dtype, "lowest_target": rounded(target.lowest),
                     "highest_target": rounded(target.highest)}
    losses = [batch.loss for batch in batches if batch.loss is not None and math.isfinite(batch.loss)]
    if losses:
        evidence |= {"loss_first": rounded(losses[0]), "loss_last": rounded(losses[-1])}
    return Finding(level, title, evidence, why, fix, next((batch.site for batch in batches if batch.site), None))


def mend(record):
    outputs, classes = number_of_outputs(record), len(set(known_training_labels(record)[0]))
    if outputs and outputs > 1 and record.crash is not None:        # in the loss, of class numbers as floating point
        return mends.head_for(record, outputs)
    return mends.head_for(record, classes) if outputs == 1 and classes > 2 else mends.cross_entropy(record)
