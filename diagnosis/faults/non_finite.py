"""NaN or infinity in loss, gradients or weights

What it is
    One number that is none poisons all: a NaN loss gives NaN gradients, those give NaN weights, and every later
    output is NaN.

How it shows
    The loss prints as nan, or (transformers' Trainer) is left out of the log; the accuracy is that of class 0.

How it is found
    The first step at which the loss, the gradient as the optimizer sees it, or a weight is not finite, and the rate
    at that step. An infinite gradient that a scaler caught and skipped is no fault.

Wrong
    for batch in loader:
        losses = F.cross_entropy(model(**batch).logits, batch["labels"], reduction="none")
        hard = losses > 2.0
        loss = (losses * hard).sum() / hard.sum()       # 0 / 0 where no row is hard
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

Right
    for batch in loader:
        losses = F.cross_entropy(model(**batch).logits, batch["labels"], reduction="none")
        loss = losses.mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

Not to be confused with
    The infinite gradients of the first fp16 steps, which the scaler skips; a NaN that a far too high rate brought
    about after some steps (lr-too-high).
"""

import math

from diagnosis.cures import mends
from diagnosis.record.arithmetic import rounded
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "precision"
EFFECT = "stops"
CAUSED_BY = ("lr-too-high", "loss-sign", "gradients-accumulate", "half-weights", "mask-wrong", "weight-decay-extreme",
             "loss-mismatched")


def check(record):
    if not record.steps and not record.batches:
        return NotMeasured("no training step was seen")
    weights = [parameter for parameter in record.parameters
               if not_finite(parameter.norm_last) or not_finite(parameter.mean)]
    before = [parameter for parameter in record.parameters if not_finite(parameter.mean)]
    bad = [(step.index, what) for step in record.steps if not step.skipped for what in whats(record, step)]
    skipped = [(step.index, "loss") for step in record.steps
               if step.skipped and course.loss_is_lost(record, step)]
    batches = [(batch.step, "loss") for batch in record.batches if not_finite(batch.loss)]
    if not record.steps and batches:
        bad = batches
    bad = sorted(bad + skipped)
    if not bad and not weights:
        return batches_only(record, batches)
    first, what = bad[0] if bad else (0 if before else None, "weights")
    if before:
        what = "weights before the first step"
    steps = record.steps
    at_end = bool(weights) or any(course.loss_is_lost(record, step) for step in steps[-2:]) or not steps
    evidence = {"first_at_step": first, "first_in": what,
                "steps_affected": len({index for index, _ in bad}), "steps_seen": len(steps),
                "tensors_with_nan": len(weights), "names": [parameter.name for parameter in weights[:3]],
                "rate_there": next((max(step.rates) for step in steps if step.index == first and step.rates), None),
                "loss_before": [rounded(step.loss) for step in steps
                                if step.loss is not None and first is not None and step.index < first][-3:],
                "losses_made_by": next((batch.loss_function for batch in record.batches_of("training")), None)}
    site = next((batch.site for batch in record.batches if not_finite(batch.loss) and batch.site), None)
    return Finding(
        "error" if at_end else "warning",
        f"the {what} " + ("are" if what.startswith("weights") else "is") + " NaN or infinite"
        + (f" from step {first} on" if at_end and first is not None and not before else ""),
        {name: value for name, value in evidence.items() if value not in (None, [])},
        "from then on every update and every output is NaN" if at_end else "such a step teaches nothing",
        fix(first, what), site or record.backward_site)


def batches_only(record, batches):
    """Losses that were infinite in forward passes without a backward, as when only validation is affected."""
    if not batches:
        return None
    return Finding("warning", "the loss of some forward passes is NaN or infinite",
                   {"passes_affected": len(batches), "first_after_step": batches[0][0]},
                   "a mean over these is NaN", "compute the loss with F.cross_entropy on raw logits",
                   next((batch.site for batch in record.batches if not_finite(batch.loss)), None))


def whats(record, step):
    """What is not finite at a step, in the order in which it spreads."""
    lost = (("loss", course.loss_is_lost(record, step)), ("gradient", not_finite(step.gradient_norm)),
            ("weights", not_finite(step.weight_norm)))
    return [what for what, bad in lost if bad]


def not_finite(value):
    return value is not None and not math.isfinite(value)


def fix(first, what):
    if what.startswith("weights before"):
        return "check the checkpoint and how its missing weights are initialized"
    if what == "loss" and not first:
        return "it is so from the first loss on: look for log(0), a division by 0 or a row that the mask hides whole"
    if what == "gradient":
        return "a finite loss has an infinite slope (sqrt or norm at 0, log near 0): add a small constant inside"
    return "lower the rate and clip gradients to a norm of 1.0; if it stays, torch.autograd.set_detect_anomaly(True)"


def mend(record):
    half = record.scaler_used or record.autocast or any("float16" in each.dtype for each in record.parameters)
    return mends.in_float32(record) if half else mends.finite(record)
