"""softmax or sigmoid is applied before a loss that applies it itself (log-softmax twice: a note)

What it is
    CrossEntropyLoss takes raw logits and applies log-softmax itself, BCEWithLogitsLoss a sigmoid. A model that ends in
    softmax or sigmoid has it applied twice.

How it shows
    The loss falls slowly and stops high: with probabilities for logits it cannot go below ln(1 + (C - 1) / e), which is
    0.313, 0.551 and 0.744 for two, three and four classes. The accuracy may be fair all the same.

How it is found
    The operation that made the loss's input, and the input itself: rows between 0 and 1 that add up to 1.

Wrong
    logits = model(**batch).logits
    loss = F.cross_entropy(torch.softmax(logits, dim=-1), batch["labels"])

Right
    logits = model(**batch).logits
    loss = F.cross_entropy(logits, batch["labels"])

Not to be confused with
    log_softmax with NLLLoss and sigmoid with BCELoss, which belong together. Softmax for printing probabilities, or in
    validation.
"""

import math
from collections import Counter

from diagnosis.cures import mends
from diagnosis.record.arithmetic import rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import training_batches

GROUP = "model"
EFFECT = "slows"
CAUSED_BY = ("loss-mismatched", "rows-mixed")

APPLY_IT_THEMSELVES = ("cross_entropy", "binary_cross_entropy_with_logits")
SQUASHING = ("softmax", "sigmoid")
ENOUGH = 16         # rows, to call logits probabilities by their values


def check(record):
    batches = [batch for batch in training_batches(record) if batch.loss_function]
    if not batches:
        return NotMeasured("no loss function of torch was seen")
    batches = [batch for batch in batches if batch.loss_function in APPLY_IT_THEMSELVES]
    if not batches:
        return None
    operations = Counter(batch.last_operation for batch in batches)
    found = next((name for name in SQUASHING if 2 * operations[name] >= len(batches)), None)
    by_value = _are_probabilities(batches)
    if found is None and by_value:
        found = "softmax"
    if found is not None:
        return _finding(batches, found, by_value)
    if 2 * operations["log_softmax"] >= len(batches) and batches[0].loss_function == "cross_entropy":
        return Finding(
            "note", "log_softmax is applied before cross_entropy, which applies it itself",
            {"loss_function": "cross_entropy", "last_operation": "log_softmax", "batches": len(batches)},
            "Log-softmax of log-softmax changes nothing; it costs a little and misleads who reads it.",
            "Give the loss the raw logits, or keep log_softmax and use NLLLoss.", batches[0].site)
    return None


def _are_probabilities(batches):
    """All rows of logits lie between 0 and 1 and add up to 1."""
    rows = [row for batch in batches for row in batch.logits or []]
    return len(rows) >= ENOUGH and all(
        len(row) > 1 and min(row) >= 0 and abs(sum(row) - 1) < 2e-3 for row in rows)


def _finding(batches, found, by_value):
    function, outputs = batches[0].loss_function, batches[0].outputs
    evidence = {"loss_function": function, "last_operation": found, "batches": len(batches),
                "rows_add_up_to_1": by_value, "outputs": outputs,
                "last_loss": rounded(batches[-1].loss) if batches[-1].loss is not None else None}
    consequence = "its gradients shrink and the loss cannot come near 0"
    if outputs and outputs > 1 and function == "cross_entropy":
        evidence["loss_cannot_fall_below"] = rounded(math.log(1 + (outputs - 1) / math.e))
        consequence = f"the loss cannot fall below {evidence['loss_cannot_fall_below']} and its gradients shrink"
    elif outputs == 1:
        evidence["loss_cannot_fall_below"] = rounded(math.log(1 + 1 / math.e) / 2 + math.log(2) / 2)
    return Finding(
        "error", f"{found} is applied before {function}, which applies its own", evidence,
        f"Probabilities between 0 and 1 taken for logits can never be far apart: {consequence}.",
        f"Give {function} the raw logits: take the {found} out of the model's forward, and apply it only where "
        "probabilities are shown.",
        batches[0].site)


def mend(record):
    return mends.cross_entropy(record)
