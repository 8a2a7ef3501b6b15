"""gradients are computed but no optimizer step follows

What it is
    backward() runs and optimizer.step() never does: it was forgotten, written without its parentheses, stands behind
    a condition that never holds, or waits for more batches than an epoch has.

How it shows
    The loss wanders and no weight changes, at any rate and with any schedule.

How it is found
    backward calls and optimizer steps are counted. With two optimizers: one whose weights have gradients and a rate
    and do not change while the other's do.

Wrong
    for epoch in range(epochs):
        optimizer.zero_grad()
        for number, batch in enumerate(loader, start=1):
            (loss_of(model, batch) / 1000).backward()
            if number % 1000 == 0:      # an epoch has fewer batches
                optimizer.step()
                optimizer.zero_grad()

Right
    for epoch in range(epochs):
        optimizer.zero_grad()
        for number, batch in enumerate(loader, start=1):
            (loss_of(model, batch) / 2).backward()
            if number % 2 == 0 or number == len(loader):
                optimizer.step()
                optimizer.zero_grad()

Not to be confused with
    Accumulation over a few batches, where one step follows several backward calls; a gradient scaler that skips its
    first steps.
"""

from diagnosis.cures import mends
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ()

MANY = 20       # backward calls without a step that are no accumulation where the observer had seen enough
LONG = 128      # backward calls that no accumulation of a fine-tuning run needs


def check(record):
    if not record.backwards and not record.steps:
        return NotMeasured("no backward call was seen")
    if record.steps or record.optimizer_steps:
        return idle_optimizer(record)
    batches = record.plan.batches_per_epoch
    zeroed_each_time = record.zero_grads >= 0.5 * record.backwards and record.backwards >= 4
    over = record.ended == "script ended" or record.ended == "enough seen" and record.backwards >= MANY
    whole_epoch = batches is not None and record.backwards >= max(batches, 4)
    if not (zeroed_each_time or over or whole_epoch or record.backwards >= LONG):
        return NotMeasured(f"{record.backwards} backward calls and no optimizer step yet: too few to tell it from "
                           "accumulation")
    evidence = {"backward_calls": record.backwards, "optimizer_steps_seen": 0, "zero_grad_calls": record.zero_grads}
    if batches:
        evidence["batches_per_epoch"] = batches
    return Finding("error", f"{record.backwards} backward calls and not one optimizer step", evidence,
                   "gradients alone change nothing: only optimizer.step() moves the weights",
                   "call optimizer.step() after backward (with a scaler: scaler.step(optimizer) and scaler.update()); "
                   "an accumulation must be shorter than an epoch", record.backward_site)


def idle_optimizer(record):
    """A group that never moves although its weights have gradients and a rate, beside others that do move."""
    idle = [index for index, group in course.trained_groups(record) if is_idle(record, index)]
    kinds = {(record.groups[index].optimizer, str(record.groups[index].made)) for index in idle}
    moving = {parameter.group for parameter in record.parameters if parameter.change} - {None, *idle}
    others = {(record.groups[index].optimizer, str(record.groups[index].made)) for index in moving}
    if not idle or not moving or kinds & others:
        return None
    group = record.groups[idle[0]]
    weights = sum(parameter.elements for index in idle for parameter in course.trained_by(record, index))
    return Finding("error", f"one of the optimizers ({group.optimizer}) never steps",
                   {"weights_that_never_change": weights, "its_rate": group.rate,
                    "parts": sorted({weight.part for index in idle for weight in course.trained_by(record, index)})},
                   "its weights have gradients and nothing applies them", "call its step() too, beside the other's",
                   group.made)


def is_idle(record, index):
    held = [parameter for parameter in course.trained_by(record, index) if any(parameter.gradient_norms)]
    rates = course.rates_seen(record, index) or [record.groups[index].rate]
    return (len(course.taken(record)) >= 3 and bool(held) and min(rates[1:] or rates) > 1e-7
            and all(parameter.change == 0 and parameter.dtype == "float32" for parameter in held))


def mend(record):
    return mends.Mend("the optimizer stepped after each backward, and its gradients zeroed then",
                      {"step_each_backward": None})
