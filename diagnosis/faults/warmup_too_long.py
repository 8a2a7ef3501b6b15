"""the warm-up takes most of the run or more

What it is
    The schedule raises the rate from 0 over a number of its own steps that is most of the steps it will ever make:
    500 steps of warm-up, a usual default, in a run of 60.

How it shows
    The loss falls late and little; the last epoch is the best one, and twice the epochs help as if by magic. Where
    the warm-up is many times the run, nothing is learned at all.

How it is found
    The warm-up in schedule steps (as the schedule was made, or the rising part of its factors) against the schedule
    steps of the whole plan at the pace the script steps it. From half of the plan a warning, from nine tenths an error.

Wrong
    scheduler = get_linear_schedule_with_warmup(optimizer, 500, len(loader) * epochs)    # the run has 128 steps
    for epoch in range(epochs):
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

Right
    steps = len(loader) * epochs
    scheduler = get_linear_schedule_with_warmup(optimizer, int(0.1 * steps), steps)
    for epoch in range(epochs):
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

Not to be confused with
    A warm-up of a tenth of the steps, of which 40 observed steps may well see nothing but the rise; a schedule that
    is stepped once per epoch (schedule-per-epoch), where the warm-up is right and the call is not; one-cycle and
    cyclic schedules, which rise by design.
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import a_few, rounded
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("schedule-per-epoch",)
SET_BY = "warmup"

MUCH, MOST = 0.5, 0.9       # of the plan; the contract's "most of the run" and "or more"
FEW = 3                     # steps measured in each third of those seen
RISING_BY_DESIGN = ("OneCycleLR", "CyclicLR")
HIGH_ON_AVERAGE = 0.6       # of the peak: a rise from a third (LinearLR) harms little however long it is


def check(record):
    if not record.schedules:
        own = course.sets_its_own_rate(record)
        if own is not None:
            return inside_optimizer(record, own)
        return None if record.steps or record.groups else NotMeasured("no optimizer was seen")
    unknown = None
    for schedule in record.schedules:
        warm_up = course.warm_up_places(schedule)
        if not warm_up or course.stepped_per_epoch_by_mistake(record, schedule):
            continue
        places = course.places_in_plan(record, schedule)
        if not places:
            unknown = NotMeasured("there is a warm-up, but the planned number of schedule steps is not known")
            continue
        share = warm_up / places
        if share >= (MOST if schedule.kind in RISING_BY_DESIGN else MUCH) and warm_up > 1:
            return finding(record, schedule, warm_up, places)
    return unknown


def inside_optimizer(record, group):
    """The warm-up of an optimizer of the script's own, from its numbers where the steps that were measured bear them out:
    they become longer and longer."""
    numbers, updates, lengths = group.own_schedule, course.planned_updates(record), course.measured_lengths(record)
    warm_up, total = numbers.get("warmup", -1), numbers.get("t_total", -1)
    if not numbers:
        return NotMeasured(f"{group.optimizer} is code of the script's own, which may change its rate by itself")
    if not 0 < warm_up < 1 or total <= 0:
        return None
    if not updates or len(lengths) < 3 * FEW:
        return NotMeasured(f"{group.optimizer} warms up by itself, and too little of it was measured")
    share, third = warm_up * total / updates, len(lengths) // 3
    rising = sum(lengths[-third:]) > 1.5 * sum(lengths[:third])
    if share < MUCH or not rising:
        return None
    return Finding(
        "error" if share >= MOST else "warning",
        f"the warm-up inside {group.optimizer} of {warm_up * total:,.0f} steps takes {100 * min(share, 1):.0f} % of the "
        f"run's {updates:,.0f}",
        {**numbers, "planned_optimizer_steps": round(updates), "share_of_the_run": round(share, 2),
         "lengths_of_steps": a_few([rounded(length) for length in lengths])},
        "the rate reaches its peak when the run is over, or never; most steps are made with a fraction of it",
        f"give {group.optimizer} t_total = {updates:,.0f}, the optimizer steps of the whole run", group.made)


def finding(record, schedule, warm_up, places):
    share = warm_up / places
    factors = course.planned_factors(record, schedule)
    peak = max(factors) if factors and share < 1 else max([1.0, *factors])
    average = sum(factors) / len(factors) / peak if factors else None
    rates = [step.rates[0] for step in course.taken(record) if step.rates]
    evidence = {
        "warm_up_steps": warm_up,
        "planned_schedule_steps": round(places),
        "share_of_the_run": round(share, 2),
        "highest_rate_seen": rounded(max(rates)) if rates else None,
        "base_lr": schedule.base_rates[0] if schedule.base_rates else None,
        "average_rate_over_peak": rounded(average),
    }
    level = "error" if share >= MOST and (average is None or average < HIGH_ON_AVERAGE) else "warning"
    return Finding(
        level, f"the warm-up of {warm_up:,} steps takes {100 * min(share, 1):.0f} % of the run's {places:,.0f}",
        {name: value for name, value in evidence.items() if value is not None},
        "the rate reaches its peak when the run is over, or never; most steps are made with a fraction of it",
        f"warm up for about a tenth of the run: {max(1, round(0.1 * places)):,} steps",
        schedule.made or schedule.call_site)


def mend(record):
    return mends.own_rate_held(record)
