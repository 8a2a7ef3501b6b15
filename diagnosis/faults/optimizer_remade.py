"""the optimizer is made anew at each step or epoch, and forgets its moments

What it is
    The line that makes the optimizer stands inside the loop (or in a function that the loop calls), for the same
    model. Adam's averages of the gradient, momentum and the count of steps begin at nothing each time.

How it shows
    Made at each step, Adam moves every weight by the whole rate whatever its gradient's size, so the loss wanders
    about; made at each epoch, the first steps of every epoch throw the model about. A schedule made with it begins
    anew.

How it is found
    Optimizers made at the same line for the very same parameters while training goes on, and the steps between. Plain
    gradient descent without momentum has nothing to forget.

Wrong
    for batch in loader:
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

Right
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

Not to be confused with
    A new optimizer for a new model in every fold; one for each stage of training, with other parameters; warm
    restarts of a schedule, which leave the moments alone.
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import median
from diagnosis.record.record import place
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import is_learning

GROUP = "optimization"
EFFECT = "slows"
CAUSED_BY = ("model-remade",)

OFTEN = 2.5         # optimizer steps between two makings: no epoch is as short as that


def check(record):
    if not record.groups or not record.steps:
        return NotMeasured("no step of an optimizer was seen")
    found = [remaking for remaking in record.remakings if remaking.kind == "optimizer"]
    if not found:
        return None if len(record.steps) > 1 else NotMeasured("a single optimizer step was seen")
    remaking = max(found, key=lambda each: len(each.at))
    groups = [group for group in record.groups if place(group.made) == place(remaking.site)] or record.groups
    if not any(course.is_scale_free(group) or group.momentum for group in groups):
        return None
    apart = median([after - before for before, after in zip([0, *remaking.at], remaking.at)])
    each_step = len(remaking.at) >= 3 and apart <= OFTEN
    return Finding(
        "error" if each_step and not is_learning(record) else "warning",
        f"the optimizer is made anew {'at every step' if each_step else 'while the same model is trained on'}",
        {"made_anew": len(remaking.at), "optimizer_steps_seen": record.optimizer_steps,
         "after_steps": remaking.at[:8], "optimizer": groups[0].optimizer},
        "Its moments begin at zero each time: "
        + ("every step moves each weight by the whole rate in the direction of one batch's gradient."
           if each_step else "the first steps after each making are as rough as those of a new run."),
        "make the optimizer (and its schedule) once, before the loop over the epochs", remaking.site)


def mend(record):
    rates = [group.initial_rate or group.rate for _, group in course.trained_groups(record)]
    return mends.adamw(record, None if course.sets_its_own_rate(record) else max(rates, default=None))
