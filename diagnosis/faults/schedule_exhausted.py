"""the rate reaches zero long before training ends (wrong total, stepped too often)

What it is
    The schedule has come to its end while the loop goes on: its total was one epoch's steps, or the epochs instead of
    the steps, or step() is called for every micro-batch of an accumulation, or twice.

How it shows
    The loss falls for a while and then stands still to the last digit of its noise; later epochs repeat the earlier
    one. A cosine stepped beyond its end climbs again, and the loss with it.

How it is found
    The schedule's factor over the whole plan, at the pace (schedule steps per optimizer step) that was measured: where
    it falls below a thousandth of its peak before 70 % of the plan and stays there, or where a cosine turns round.
    Also the rates seen, the weights' change by each step of an optimizer with a schedule inside (BertAdam), and
    OneCycleLR's refusal to go on. An error where about half of the run or more is lost.

Wrong
    scheduler = get_linear_schedule_with_warmup(optimizer, 0, len(loader))      # one epoch's steps
    for epoch in range(epochs):
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

Right
    scheduler = get_linear_schedule_with_warmup(optimizer, 0, len(loader) * epochs)
    for epoch in range(epochs):
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

Not to be confused with
    A decay that ends with the last step; schedules with restarts, and cyclic ones, which come back by design; early
    stopping, which ends a run before its schedule.
"""

import re

from diagnosis.cures import mends
from diagnosis.record.arithmetic import a_few, rounded
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("schedule-per-epoch",)

NEARLY_ZERO = 1e-3      # of the peak: nothing is learned any more
EARLY = 0.7             # of the plan: a schedule that ends later is a little off, no more
HALF = 0.55             # of the plan: twice as many calls as meant end at one half, give or take a step
SEEN_FALLEN = 0.02      # of the highest rate seen, where the plan is not known: gone within the steps seen
ENOUGH, STILL = 8, 4    # steps measured, and those at their end that change nothing
CYCLIC = ("CyclicLR", "CosineAnnealingWarmRestarts")


def check(record):
    refused = record.crash and re.search(r"Tried to step \d+ times", record.crash.message)
    if refused:
        return refusal(record)
    if not record.schedules:
        own = course.sets_its_own_rate(record)
        if own is not None:
            return stalled(record, own)
        return fallen(record, None) if record.steps or record.groups else NotMeasured("no optimizer was seen")
    unknown = None
    for schedule in record.schedules:
        if course.stepped_per_epoch_by_mistake(record, schedule):
            continue
        share, turns = end_of(record, schedule)
        if share is None:
            unknown = NotMeasured("the schedule's course over the whole plan is not known")
        elif share <= EARLY:
            return finding(record, schedule, share, turns)
    untold = [schedule for schedule in record.schedules
              if not schedule.factors or course.pace(record, schedule) is None]
    return fallen(record, untold[0]) or unknown if untold else unknown


def end_of(record, schedule):
    """(share of the plan at which the rate is gone, 1 if it lasts, None if unknown; whether it then rises again)."""
    factors, places = course.planned_factors(record, schedule), course.places_in_plan(record, schedule)
    if not factors or len(schedule.factors) < 2:
        return (1.0 if schedule.kind == "ReduceLROnPlateau" or "constant" in schedule.maker else None), False
    epochs = course.pace(record, schedule).kind == "epoch"
    if epochs and places <= 2:
        return 1.0, False       # a per-epoch schedule over one or two epochs has no course
    peak = max(max(factors), 0.0)
    if schedule.kind in CYCLIC or "restart" in schedule.maker:
        return 1.0, False
    if peak == 0:
        return 1.0, False       # at the foot of a warm-up, or never above zero, which is lr-zero
    top = factors.index(peak)
    alive = [point for point, factor in enumerate(factors) if factor > NEARLY_ZERO * peak]
    if alive[-1] + 1 < len(factors):
        return max((alive[-1] + 1) / len(factors), top / len(factors)), False
    length = course.length_in_places(schedule)
    at_end = course.factor_at(schedule, length) if length and length < len(schedule.factors) else None
    if at_end is not None and at_end <= NEARLY_ZERO * peak and length < places:
        return length / places, True
    return 1.0, False


def finding(record, schedule, share, turns):
    rates = [step.rates[0] for step in course.taken(record) if step.rates]
    pace, places = course.pace(record, schedule), course.places_in_plan(record, schedule)
    evidence = {
        "rate_gone_at_share_of_run": round(share, 2),
        "schedule_length": course.length_in_places(schedule),
        "planned_schedule_steps": round(places),
        "planned_optimizer_steps": round(course.planned_updates(record) or 0) or None,
        "schedule_steps_per_optimizer_step": rounded(pace.per_update) if pace.kind == "step" else None,
        "rates": a_few([rounded(rate) for rate in rates]) or None,
        "base_lr": schedule.base_rates[0] if schedule.base_rates else None,
    }
    level = "error" if share <= HALF and not turns and pace.kind == "step" else "warning"
    title = (f"the learning rate is gone after {100 * share:.0f} % of the run" if not turns else
             f"the schedule ends after {100 * share:.0f} % of the run and the rate then rises again")
    often = pace.kind == "step" and pace.per_update > 1.3
    return Finding(level, title, {name: value for name, value in evidence.items() if value is not None},
                   "after that the weights stand still and the remaining steps are for nothing" if not turns else
                   "what was settled at the low rate is shaken up again, and training ends at an arbitrary rate",
                   "call scheduler.step() once per optimizer step" if often else
                   f"make the schedule for all the {places:,.0f} steps that it is given",
                   (schedule.call_site if often else schedule.made) or schedule.made or schedule.call_site)


def fallen(record, schedule):
    """The rates seen have all but gone, in a run that has much before it: under a schedule whose course is not known,
    or (None) under none, where the loop sets the rate."""
    steps, updates = course.taken(record), course.planned_updates(record)
    rates = course.highest_rates(record)
    if len(rates) < 8 or updates is not None and len(rates) / course.side_by_side(record) > EARLY * updates:
        return None
    gone = SEEN_FALLEN if updates is not None else NEARLY_ZERO
    if updates is None and record.ended != "enough seen":
        return None             # it may have been the end of the run
    if not max(rates) > 0 or rates[-1] > gone * max(rates) or schedule is not None and schedule.kind in CYCLIC:
        return None
    if max(rates) == rates[0] and steps[0].epoch != steps[-1].epoch and len({step.epoch for step in steps}) > 3:
        return None             # fell from epoch to epoch
    return Finding("error", f"the learning rate has fallen to {rates[-1]:.2g} within {len(rates)} steps",
                   {"rates": a_few([rounded(rate) for rate in rates]),
                    "optimizer_steps_seen": len(rates),
                    **({"planned_optimizer_steps": round(updates)} if updates else {}),
                    **({"scheduler_steps_seen": schedule.calls} if schedule else {})},
                   "the rate is gone while most of the run is still to come",
                   "step this schedule once per epoch, or make it for all optimizer steps of the run" if schedule else
                   "lower the rate once per epoch, or so much less at a time that it lasts for all optimizer steps",
                   schedule.call_site or schedule.made if schedule else (record.rate_sites or [record.step_site])[0])


def stalled(record, group):
    """An optimizer of the script's own, which may lower its rate out of sight: do its steps still change the weights?"""
    lengths, updates = course.measured_lengths(record), course.planned_updates(record)
    if len(lengths) < ENOUGH:
        return NotMeasured(f"{group.optimizer} is code of the script's own, and too few of its steps were measured")
    moving = [place for place, length in enumerate(lengths) if length > NEARLY_ZERO * max(lengths)]
    still = len(lengths) - 1 - moving[-1] if max(lengths) > 0 else 0
    if still < STILL or updates is not None and moving[-1] > EARLY * updates:
        return None
    total = round(updates) if updates else None
    return Finding("error", f"no step changes the weights from the {moving[-1] + 2}. one measured on: "
                   f"{group.optimizer} has lowered its rate to nothing",
                   {"lr_shown": group.rate, "first_lengths_of_steps": [rounded(length) for length in lengths[:ENOUGH]],
                    "steps_measured": len(lengths), "steps_without_change": still, **group.own_schedule,
                    **({"planned_optimizer_steps": total} if total else {})},
                   "the schedule inside the optimizer is over, and the remaining steps are for nothing; group[\"lr\"] does "
                   "not show it",
                   f"give {group.optimizer} the number of optimizer steps of the whole run"
                   + (f", {total:,}" if total else "") + (" (t_total)" if "t_total" in group.own_schedule else ""),
                   group.made)


def refusal(record):
    """OneCycleLR raises an error when stepped beyond its total."""
    schedule = next((schedule for schedule in record.schedules if schedule.kind == "OneCycleLR"), None)
    return Finding("error", "the schedule was stepped beyond its last step and refused",
                   {"message": record.crash.message.strip().splitlines()[0],
                    "optimizer_steps_seen": record.optimizer_steps,
                    **({"scheduler_steps_seen": schedule.calls} if schedule else {})},
                   "the schedule was made for fewer steps than the loop makes",
                   "give it total_steps = epochs x optimizer steps per epoch, and step it once per optimizer step",
                   record.crash.site or (schedule.call_site if schedule else None))


def mend(record):
    return mends.own_rate_held(record)
