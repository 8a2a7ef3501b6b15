"""the schedule counts optimizer steps but is stepped once per epoch

What it is
    A schedule made for all optimizer steps of the run (warm-up of 300 steps, 1,500 in all) moves one place each time
    its step() is called. Called once per epoch it is still in the first places of its warm-up when training ends.

How it shows
    The loss wanders around the loss of guessing, and the accuracy around chance, in every epoch, whatever is frozen
    or unfrozen. With a warm-up the rate of the whole first epoch is exactly 0 and no weight changes.

How it is found
    Two counters: schedule steps against optimizer steps within one epoch, and the schedule's length in its own steps
    against the planned epochs and the planned optimizer steps. An error where the rate never comes to half its peak,
    or is 0 throughout the first epoch; a warning where it merely stays high because there is no warm-up.

Wrong
    steps = len(loader) * epochs
    scheduler = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    for epoch in range(epochs):
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()

Right
    steps = len(loader) * epochs
    scheduler = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    for epoch in range(epochs):
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

Not to be confused with
    StepLR, ExponentialLR or ReduceLROnPlateau, which are meant to be stepped once per epoch, and a cosine or a
    LambdaLR whose length is the number of epochs; Lightning's default, which steps every schedule per epoch, with one
    of these (with a schedule that counts optimizer steps it is this fault); a rate of 0 at the very first step of a
    warm-up, which is healthy.
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import a_few, rounded
from diagnosis.record.record import place
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ()
NO_TRIAL = "no schedule was seen to be moved"

LOW = 0.5       # of the peak: a rate below it at the end of the plan is still warming up
NOTHING = 0.01  # of the peak: the first epoch trains nothing
OFF = 1.25      # times more or fewer steps than planned: the schedule's own length is wrong as well
LONG = 0.5      # of the planned steps: a warm-up that would be too long for a schedule that is stepped right


def check(record):
    if not record.schedules:
        return None if record.steps or record.groups else NotMeasured("no optimizer was seen")
    wrong = [schedule for schedule in record.schedules if course.stepped_per_epoch_by_mistake(record, schedule)]
    if wrong:
        return finding(record, wrong[0])
    if any(course.pace(record, schedule) is None and course.counts_updates(record, schedule)
           for schedule in record.schedules):
        return NotMeasured("too few optimizer steps were seen to tell how often the schedule is stepped")
    return None


def finding(record, schedule):
    warm_up, epochs = course.warm_up_places(schedule) or 0, course.planned_epochs(record)
    first, last, peak = factors(schedule, 0), factors(schedule, (epochs or 1) - 1), peak_of(schedule, warm_up)
    highest = max([first, last, *schedule.factors[:epochs or 1]])
    stuck = highest < LOW * peak or first < NOTHING * peak
    length = course.length_in_places(schedule)
    steps = [step for step in course.taken(record) if step.rates]
    rates = [step.rates[0] for step in steps]
    first_epoch = [step.rates[0] for step in steps if step.epoch == steps[0].epoch]
    base = schedule.base_rates[0] if schedule.base_rates else None
    if first_epoch and max(first_epoch) == 0 or first == 0:
        title = "the learning rate is 0 at every step of the first epoch: the schedule moves only once per epoch"
    elif stuck:
        title = f"the rate stays at {100 * highest / peak:.1g} % of its peak or less: the schedule moves once per epoch"
    else:
        title = f"a schedule made for {length:,} optimizer steps moves once per epoch and hardly at all"
    evidence = {
        "optimizer_steps_seen": record.optimizer_steps or len(rates),
        "scheduler_steps_seen": schedule.calls,
        "lr": rounded(first_epoch[-1]) if first_epoch else None,
        "base_lr": base,
        "rates": a_few([rounded(rate) for rate in rates]),
        "warm_up_steps": warm_up,
        "schedule_length": length,
        "planned_epochs": epochs,
        "planned_optimizer_steps": rounded_steps(course.planned_updates(record)),
        "lr_in_last_epoch": rounded(base * last) if base is not None and epochs else None,
        "schedule": course.own_line(schedule),
    }
    long = f"a warm-up of {warm_up:,} steps" if warm_up else f"a length of {length:,} steps"
    planned = f"of which the plan has {epochs}" if epochs else "not steps"
    why = f"the schedule has {long} but moves one place per epoch, {planned}: "
    why += "the rate never comes near the one that was asked for" if stuck else \
        "the rate stays where it starts and never decays as was meant"
    fix = into_the_batch_loop(record, schedule) + what_the_schedule_needs(record, schedule, length, warm_up)
    return Finding("error" if stuck else "warning", title,
                   {name: value for name, value in evidence.items() if value not in (None, "")}, why, fix,
                   schedule.call_site or schedule.made)


def into_the_batch_loop(record, schedule):
    """How the call gets to the optimizer's steps; through which function, where that is not the schedule's own."""
    if schedule.interval == "epoch" and record.library == "ignite":
        return "attach ignite's LRScheduler to Events.ITERATION_STARTED, not to an event of the epoch"
    if schedule.interval == "epoch":
        return ('hand Lightning the schedule with its interval: configure_optimizers returns {"optimizer": optimizer, '
                '"lr_scheduler": {"scheduler": scheduler, "interval": "step"}}; without it the interval is the epoch')
    call, step = schedule.call_site, record.step_site
    after = f"after optimizer.step() ({place(step)})" if step else "after optimizer.step()"
    if not call:
        return f"call scheduler.step() in the loop over batches, {after}"
    if not step or (call.file, call.function) == (step.file, step.function):
        return f"move {place(call)} into the loop over batches, {after}"
    function = f"{step.function}()" if step.function else step.file
    return (f"call {call.code or 'scheduler.step()'} in the loop over batches, {after}, and no longer in "
            f"{place(call)}; for that the schedule has to be passed to {function}")


def what_the_schedule_needs(record, schedule, length, warm_up):
    """What is to be changed where the schedule is made; '' where nobody can tell."""
    made, planned = course.own_line(schedule), rounded_steps(course.planned_updates(record))
    if not made or not planned:
        return ""
    if length and not 1 / OFF < length / planned < OFF:
        batches = record.plan.batches_per_step or 1
        each = f", one for {batches:.3g} batches" if batches > 1 else ""
        return (f"; the schedule {made} counts {length:,} steps and this run makes {planned:,}{each}: give it that "
                "number")
    if warm_up > LONG * planned:
        return (f"; the schedule {made} then needs a shorter warm-up than {warm_up:,} of {planned:,} steps, a tenth of "
                f"them, say")
    return f"; the schedule {made} can stay as it is"


def factors(schedule, at):
    """The factor at a schedule step; from the length of the warm-up where no factors were recorded."""
    known = course.factor_at(schedule, at)
    if known is not None:
        return known
    warm_up = course.warm_up_places(schedule) or 0
    return min(1.0, at / warm_up) if warm_up else 1.0


def peak_of(schedule, warm_up):
    """The highest factor; 1 where the warm-up is longer than what was recorded."""
    if warm_up >= len(schedule.factors) - 1:
        return max([1.0, *schedule.factors])
    return max(schedule.factors) or 1.0


def rounded_steps(updates):
    return round(updates) if updates else None


def mend(record):
    wrong = next((each for each in record.schedules if course.stepped_per_epoch_by_mistake(record, each)), None)
    return mends.schedule_moved(record, wrong) if wrong is not None else None
