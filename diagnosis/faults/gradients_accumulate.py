"""gradients are never zeroed, so old ones pile up

What it is
    backward() adds to the gradients that are there. Without zero_grad() each step applies the sum of all batches
    since the first.

How it shows
    The loss falls at first and then climbs or swings; the gradient norm grows from step to step.

How it is found
    A gradient is present when the first backward call after a step begins, in most steps; an accumulation has it
    only at its later calls.

Wrong
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()

Right
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

Not to be confused with
    Gradient accumulation, where several backward calls go before one step and zero_grad() follows it; weights outside
    the optimizer, whose gradients pile up unused (optimizer-missing-params).
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import a_few, rounded
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("optimizer-missing-params",)

MOSTLY = 0.8    # of the steps after the first
FEWEST = 4


def check(record):
    steps = course.after_backward(record)[1:]
    if len(steps) < FEWEST:
        return NotMeasured("too few optimizer steps were seen")
    old = [step for step in steps if not step.zeroed and step.gradient_before > 0]
    if len(old) < MOSTLY * len(steps) or only_outside_the_optimizer(record):
        return None
    growth = [step.gradient_before for step in steps]
    return Finding(
        "error", "gradients of earlier steps are never zeroed",
        {"steps_with_old_gradients": len(old), "optimizer_steps_seen": len(steps) + 1,
         "zero_grad_calls": record.zero_grads,
         "gradient_norm_before_backward": [rounded(norm) for norm in a_few(growth)]},
        "each step applies the sum of the gradients of all batches so far, most of them long out of date",
        "call optimizer.zero_grad() once per step, after optimizer.step()", record.step_site or record.backward_site)


def only_outside_the_optimizer(record):
    """zero_grad() is called, and what piles up belongs to weights that no optimizer holds."""
    trained = [parameter for parameter in record.parameters if parameter.trainable]
    held = [parameter for parameter in trained if parameter.group is not None]
    outside = [parameter for parameter in trained if parameter.group is None and any(parameter.gradient_norms)]
    steps = course.after_backward(record)
    return bool(held and outside) and record.zero_grads >= 0.8 * len(steps)


def mend(record):
    return mends.zeroed(record)
