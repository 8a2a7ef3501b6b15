"""gradients are zeroed between `backward` and `step`

What it is
    zero_grad() stands after backward() and before step(), so the optimizer finds nothing to apply; or it stands in
    every micro-batch of an accumulation, so that only the last one counts.

How it shows
    Everything looks alive, the loss is that of guessing in every epoch and no weight changes (but for weight decay).

How it is found
    Gradients that were there when backward ended and are gone, None or all zero, when the optimizer steps. For
    accumulations: as many zero_grad as backward calls.

Wrong
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.zero_grad()
        optimizer.step()

Right
    for batch in loader:
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()

Not to be confused with
    A loss without a path to the parameters (loss-detached) or an optimizer that holds other weights
    (optimizer-missing-params), where the optimizer has no gradient either.
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import share
from diagnosis.record.record import place
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("optimizer-missing-params", "loss-detached")

MOSTLY = 0.5        # of the steps
MICRO_BATCHES = 3   # in an accumulation; with two, zeroing model and optimizer both gives the same count


def check(record):
    steps = course.after_backward(record)
    if not steps:
        return NotMeasured("no optimizer step after a backward call was seen")
    if holds_nothing_of_the_model(record):
        return None
    gone = share(step.cleared for step in steps)
    if gone >= MOSTLY:
        return finding(record, steps, gone)
    return each_micro_batch(record, steps)


def holds_nothing_of_the_model(record):
    """No gradient reaches the optimizer because it has other weights: nothing was cleared."""
    trained = [parameter for parameter in record.parameters if parameter.trainable]
    return bool(record.parameters) and all(parameter.group is None for parameter in trained)


def finding(record, steps, gone):
    return Finding(
        "error", "the gradients are gone when the optimizer steps",
        {"steps_without_gradient": sum(step.cleared for step in steps), "optimizer_steps_seen": len(steps),
         "zero_grad_calls": record.zero_grads, "backward_calls": record.backwards},
        "they are zeroed between backward and step, so that every step applies nothing",
        "move zero_grad() before backward() or behind step()" + (
            f" ({place(record.step_site)})" if record.step_site else ""), record.zero_site or record.step_site)


def each_micro_batch(record, steps):
    per_step = sum(step.backwards for step in steps) / len(steps)
    if per_step < MICRO_BATCHES or record.zero_grads < 0.9 * record.backwards:
        return None
    return Finding(
        "warning", f"of each {per_step:.0f} accumulated batches only the last one counts",
        {"backward_calls": record.backwards, "zero_grad_calls": record.zero_grads, "optimizer_steps_seen": len(steps)},
        "zero_grad() in every micro-batch throws away what the ones before it had accumulated",
        "call zero_grad() only after optimizer.step()", record.zero_site)


def mend(record):
    return mends.Mend("the gradients of each backward kept until the optimizer steps", {"keep_gradients": None})
