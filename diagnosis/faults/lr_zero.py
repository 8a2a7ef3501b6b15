"""the learning rate is zero, or so small that updates round to nothing, at every step seen

What it is
    The optimizer is called at every step and changes nothing: its rate is 0, or so far below the weights' size that
    weight - update rounds back to the weight.

How it shows
    The training loss wanders by dropout and batch alone, validation gives the same figures in every epoch, and the
    saved weights equal the loaded ones bit for bit.

How it is found
    The rate of every group at each optimizer step seen, and the share of weights that a step leaves bitwise as they
    were although their gradient is not 0. An optimizer of the script's own (BertAdam) may follow a schedule that no rate
    shows: there the weights' change alone is believed.

Wrong
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

Right
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

Not to be confused with
    The first step of a warm-up, where the rate is rightly 0; a group of frozen layers that is given the rate 0 on
    purpose (a note).
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import a_few, median, rounded
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("schedule-per-epoch", "warmup-too-long", "schedule-exhausted", "half-weights", "clip-before-unscale",
             "clip-too-tight", "optimizer-missing-params")
SET_BY = "lr"

ZERO = 1e-10        # Adam's steps of this length round to nothing in any fp32 weight above 2e-3
TINY = 1e-7         # below this rate Adam's updates may round to nothing; above it something else makes them small
UNCHANGED = 0.98    # share of weights that a step leaves as they are
ENOUGH = 3          # steps whose change was measured
EPOCH = 8           # steps: fewer zeros at the start of the first epoch may be a warm-up's


def check(record):
    steps, groups = course.taken(record), course.trained_groups(record)
    if not steps:
        return before_training(record, groups)
    if not groups:
        return NotMeasured("no group of an optimizer holds trainable weights of the model")
    highest = {index: max(course.rates_seen(record, index), default=group.rate) for index, group in groups}
    zero = [index for index, rate in highest.items() if rate <= limit(record.groups[index])]
    few = 3 if record.schedules else 1      # a schedule may rightly give 0 once
    if len(zero) == len(groups):
        if len(steps) < few:
            return NotMeasured("only the first step of a schedule was seen")
        return everything(record, steps, "the learning rate is 0 at every step seen")
    if stands_still(record):
        return everything(record, steps, "no step seen changes any weight, whatever the rate that the optimizer shows")
    if rounds_away(record, steps, highest):
        return everything(record, steps, "the learning rate is so small that updates round to nothing")
    if zero and len(steps) >= few:
        return some(record, zero)
    own = course.sets_its_own_rate(record)
    if own is not None and not course.measured_lengths(record):
        return NotMeasured(f"{own.optimizer} is code of the script's own, and what its steps change was not measured")
    return first_epoch(record, steps)


def limit(group):
    return ZERO if course.is_scale_free(group) else 0.0


def rounds_away(record, steps, highest):
    """Weights stay bitwise equal although there is a gradient, and the rate is small enough to be the reason."""
    held = [parameter for parameter in record.parameters if parameter.trainable and parameter.group is not None]
    shares = [step.unchanged_share for step in steps if step.unchanged_share is not None and step.gradient_norm
              and any(rate > 0 for rate in step.rates)]
    small = all(rate <= TINY or not course.is_scale_free(record.groups[index]) and rate < 1e-4
                for index, rate in highest.items())
    full = all(parameter.dtype in ("float32", "float64") for parameter in held)
    clipped = any(step.clip for step in steps)
    return len(shares) >= 3 and median(shares) >= UNCHANGED and small and full and not clipped


def stands_still(record):
    """An optimizer of the script's own shows a rate and changes nothing: its own schedule multiplies it by 0."""
    lengths = course.measured_lengths(record)
    return course.sets_its_own_rate(record) is not None and len(lengths) >= ENOUGH and max(lengths) == 0


def everything(record, steps, title):
    schedule = record.schedules[0] if record.schedules else None
    base = max((group.initial_rate for _, group in course.trained_groups(record)), default=0.0)
    evidence = {
        "optimizer_steps_seen": len(steps),
        "rates": a_few(course.highest_rates(record)),
        "base_lr": base,
        "weights_unchanged": rounded(median(step.unchanged_share for step in steps)),
        "scheduler_steps_seen": schedule.calls if schedule else None,
        "schedule": course.own_line(schedule) if schedule else None,
    }
    asked, own = base > ZERO and schedule is not None, course.sets_its_own_rate(record)
    where = (schedule.call_site or schedule.made) if asked else record.groups[0].made
    if asked and not schedule.calls:
        fix = "call scheduler.step() after each optimizer.step(), or leave the schedule out"
    elif own is not None and own.own_schedule:
        evidence |= own.own_schedule
        fix = f"give {own.optimizer}'s own schedule the number of optimizer steps of the whole run"
    elif asked:
        fix = "look at the schedule: at each step seen it multiplies the rate by 0"
    else:
        fix = "give the optimizer a rate above 0; 2e-5 to 5e-5 suits AdamW on a pre-trained encoder"
    return Finding("error", title, {name: value for name, value in evidence.items() if value not in (None, "")},
                   "every update is the rate times a direction: with the rate at nothing no weight moves", fix,
                   where or record.step_site)


def some(record, zero):
    """Some groups at 0 beside others that learn: on purpose for the encoder's layers, hardly for the head."""
    parts = sorted({parameter.part for index in zero for parameter in course.trained_by(record, index)})
    head = "head" in parts
    title = f"the learning rate of {len(zero)} of {len(record.groups)} groups is 0"
    return Finding("warning" if head else "note", title,
                   {"groups": zero, "parts": parts, "weights": sum(record.groups[index].elements for index in zero)},
                   "these weights stay as they are" + (", the new head's among them" if head else ""),
                   "give these groups a rate above 0, or freeze their parameters if that is what is meant",
                   record.groups[zero[0]].made)


def first_epoch(record, steps):
    """Zero throughout the first epoch and not after it: an epoch for nothing."""
    first = [max(step.rates) for step in steps if step.epoch == steps[0].epoch and step.rates]
    whole = steps[-1].epoch != steps[0].epoch and len(first) >= EPOCH and max(first) <= ZERO
    if not whole or any(course.stepped_per_epoch_by_mistake(record, schedule) for schedule in record.schedules):
        return None
    return Finding("warning", "the learning rate is 0 at every step of the first epoch",
                   {"steps_of_first_epoch_seen": len(first), "rate_after_it": max(steps[-1].rates)},
                   "a whole epoch is computed and changes no weight", "start the schedule above 0",
                   record.schedules[0].made if record.schedules else None)


def before_training(record, groups):
    """The look before the first epoch: a rate of 0 with no schedule to raise it."""
    if record.ended != "looked" or not groups:
        return NotMeasured("no optimizer step was seen")
    if max(group.initial_rate for _, group in groups) > ZERO:
        return None
    return everything(record, [], "the learning rate is 0")


def mend(record):
    base = max((group.initial_rate for _, group in course.trained_groups(record)), default=0.0)
    return mends.own_rate_held(record) if base > TINY and record.schedules else mends.rate_held(record)
