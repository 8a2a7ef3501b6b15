"""the logits hardly depend on the input (an activation after the last layer, saturated or dead units)

What it is
    A ReLU (or tanh, or dropout) stands after the last Linear, or a hidden layer of the head is dead: every unit of a
    ReLU is 0 for every row, every unit of a tanh is at its end.

How it shows
    The loss stays at that of guessing by class frequency, or at a floor; some classes are never predicted, because an
    output that is cut off at 0 for all rows gets no gradient and never comes back.

How it is found
    The operation that made the loss's input; the spread of the logits between rows of a batch whose inputs differ,
    against their size; the share of a ReLU's units that are 0 for every row.

Wrong
    head = nn.Sequential(nn.Linear(32, 2), nn.ReLU())

Right
    head = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))

Not to be confused with
    A fresh head, whose logits differ little between rows, but differ; one that begins with zero weights and learns.
    lr-too-high, which makes the encoder give one answer to everything and then stands before this finding.
"""

import math
from statistics import fmean, pstdev

from diagnosis.cures import mends
from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "model"
EFFECT = "stops"
CAUSED_BY = ("lr-too-high", "lr-zero", "schedule-per-epoch", "no-optimizer-step", "optimizer-missing-params",
             "loss-detached", "gradients-cleared", "weight-decay-extreme", "text-constant", "non-finite",
             "dropout-extreme", "rows-mixed", "loss-mismatched", "head-frozen")

ACTIVATIONS = ("relu", "relu6", "tanh", "hardtanh", "gelu", "elu", "silu", "softplus", "dropout", "native_dropout")
TAKES_LOGITS = ("cross_entropy", "binary_cross_entropy_with_logits")
CUTTING = ("ReLU", "ReLU6")     # modules whose units can die
SPREAD = 1e-4                   # between rows, of the logits' size; fresh heads have 1e-2 and more
LOW_SPREAD = 1e-2               # the same in half precision, whose rounding alone gives 4e-3
DEAD = 0.99                     # of a hidden layer's units
ENOUGH = 3                      # batches


def check(record):
    batches = [batch for batch in record.batches_of("training") if batch.logits or batch.last_operation]
    if not batches:
        return NotMeasured("no logits of a training pass were seen")
    activation = _activation_at_the_end(batches)
    if activation is not None:
        return activation
    dead = _dead(record)
    late = [batch for batch in batches[len(batches) // 2:] if _tells(batch)]
    spreads = [_spread(batch.logits) for batch in late]
    narrow = LOW_SPREAD if record.autocast in ("float16", "bfloat16") or _in_half_precision(record) else SPREAD
    same = len(late) >= ENOUGH and max(spreads) < narrow
    if not dead and not same:
        return None if len(late) >= ENOUGH or len(batches) >= ENOUGH else NotMeasured(
            "too few training passes with different inputs were seen")
    evidence = {"batches": len(late)}
    if spreads:
        evidence["largest_spread_between_rows"] = rounded(max(spreads))
    if dead:
        evidence |= {"dead_layer": dead[0].name, "units_zero_for_every_row_share": rounded(dead[0].zero_share)}
    title = (f"{percent(dead[0].zero_share)} of the units of {dead[0].name} are 0 for every row" if dead else
             "the logits are the same for every row, though the inputs differ")
    return Finding(
        "error", title, evidence,
        "An output that does not depend on the input can only learn how frequent the classes are, and dead units get "
        "no gradient that would bring them back.",
        "Look at the head's activations and initial values: smaller initial weights and biases, no saturated or dead "
        "layer between the encoder and the last Linear.",
        next((batch.site for batch in late if batch.site), None))


def _activation_at_the_end(batches):
    """A finding where an activation or dropout made the loss's input."""
    batches = [batch for batch in batches if batch.loss_function in TAKES_LOGITS]
    found = [batch for batch in batches if batch.last_operation in ACTIVATIONS]
    if not found or 2 * len(found) < len(batches):
        return None
    operation = found[-1].last_operation.removeprefix("native_")
    rows = [row for batch in found[len(found) // 2:] for row in batch.logits or []]
    evidence = {"last_operation": operation, "batches": len(found), "loss_function": found[-1].loss_function,
                "last_loss": rounded(found[-1].loss)}
    never = []
    if rows and operation.startswith("relu"):
        never = [column for column in range(len(rows[0])) if all(row[column] == 0 for row in rows)]
        zeros = sum(value == 0 for row in rows for value in row) / (len(rows) * len(rows[0]))
        evidence |= {"logits_that_are_0_share": rounded(zeros), "outputs_0_for_every_row": never}
    floor = ""
    if operation in ("tanh", "hardtanh") and rows and len(rows[0]) > 1:
        evidence["loss_cannot_fall_below"] = rounded(math.log(1 + (len(rows[0]) - 1) * math.exp(-2)))
        floor = f" The loss cannot fall below {evidence['loss_cannot_fall_below']}."
    return Finding(
        "error" if never else "warning",
        f"{operation} stands between the last layer and the loss"
        + (f", and {len(never)} of {len(rows[0])} outputs are 0 for every row" if never else ""), evidence,
        "It cuts off or squeezes the logits that the loss wants free, and an output cut off for all rows gets no "
        "gradient any more." + floor,
        f"Let the head end in its Linear: take the {operation} after it out, or move it in front of it.",
        found[0].site)


def _dead(record):
    """The activations in the head whose units are 0 for every row."""
    return [module for module in record.modules if module.kind in CUTTING and module.part == "head"
            and module.zero_share is not None and module.zero_share >= DEAD]


def _tells(batch):
    """Its logits could differ: several rows, and inputs that are not all the same."""
    return bool(batch.logits) and len(batch.logits) >= 2 and (batch.distinct_rows is None or batch.distinct_rows > 1) \
        and all(math.isfinite(value) for row in batch.logits for value in row)


def _spread(logits):
    """Standard deviation of each output over the rows, the largest of them, relative to the logits' size."""
    columns = list(zip(*logits))
    size = fmean(abs(value) for row in logits for value in row)
    widest = max(pstdev(column) for column in columns)
    return widest / size if size > 1e-12 else (math.inf if widest > 1e-12 else 0.0)


def _in_half_precision(record):
    return any(parameter.part == "head" and parameter.dtype in ("float16", "bfloat16")
               for parameter in record.parameters)


def mend(record):
    batches = [batch for batch in record.batches_of("training") if batch.last_operation]
    activation = _activation_at_the_end(batches)
    if _dead(record) or activation is not None and activation.level == "error":
        return mends.head_anew(record)
    return mends.cross_entropy(record) if activation is not None else mends.last_layer_anew(record)
