"""the steps planned are too few for this head and rate to learn anything

What it is
    The whole run makes a handful of optimizer steps: few rows, one epoch, large batches or much accumulation. However
    well everything else is set, weights cannot get anywhere in so few steps, and a new BatchNorm has not yet replaced
    the mean 0 and variance 1 that it began with.

How it shows
    The loss hardly moves; the accuracy may lie below that of guessing, where a BatchNorm in the head predicts with
    statistics that are not those of the data.

How it is found
    Arithmetic on the plan. (1 - momentum) to the power of the training passes is the share of its first statistics
    that a fresh BatchNorm keeps: above 0.2 (15 passes or fewer at the usual 0.1) is an error, above 0.1 a warning. A
    step of Adam moves a weight by at most about the rate: a sum of rates below 2e-4 for a whole model, or 4e-3 for a
    head on a frozen encoder, is too short a way, and below 5e-4 and 2e-2 a short one (measured; see lr-too-low).

Wrong
    loader = DataLoader(list(zip(texts, labels))[:96], batch_size=24, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

Right
    loader = DataLoader(list(zip(texts, labels)), batch_size=8, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

Not to be confused with
    lr-too-low, where the steps would do at a usual rate; warmup-too-long and schedule-exhausted, where the schedule
    keeps the rate low; a model that comes trained for its task and needs little more.
"""

import math

from diagnosis.record.arithmetic import rounded
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import is_learning

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("lr-zero", "lr-too-low", "schedule-per-epoch", "warmup-too-long", "schedule-exhausted",
             "optimizer-missing-params", "no-optimizer-step")
SET_BY = "epochs"
NO_TRIAL = "a trial has no more steps than the run"

# Sum of rates that is an error, and a warning; below the third figure the rate itself is at fault (lr-too-low).
WHOLE = (2e-4, 5e-4, 5e-6)
HEAD = (4e-3, 2e-2, 1e-4)
KEPT_ERROR, KEPT_WARNING = 0.2, 0.1     # share of its first statistics that a BatchNorm keeps to the end
MOST = 100                  # optimizer steps: with more of them it is no matter of their number


def check(record):
    updates = course.planned_updates(record)
    if updates is None:
        return NotMeasured("the planned number of optimizer steps is not known")
    if not record.parameters or record.encoder is None:
        return NotMeasured("no trained encoder was seen")
    if updates > MOST:
        return None
    norms, ways = by_statistics(record, updates), by_way(record)
    level = max([norms[0], ways[0]], key=("", "warning", "error").index)
    if not level:
        return None
    if is_learning(record):
        level = "warning"
    needed = max(norms[2], ways[2])
    return Finding(
        level, f"{round(updates)} optimizer steps in all are too few for "
        + ("a fresh BatchNorm" if norms[0] and not ways[0] else "this model to learn anything"),
        {"planned_optimizer_steps": round(updates), "epochs": record.plan.epochs, "steps_needed_about": needed}
        | norms[1] | ways[1],
        "So few steps leave the new weights near their random start, whatever the gradients say"
        + (", and a BatchNorm near the mean 0 and variance 1 that it began with." if norms[0] else "."),
        f"make at least {needed} steps: more epochs, smaller batches or less accumulation, or more rows"
        + ("; or take a head without BatchNorm" if norms[0] else ""),
        record.groups[0].made if record.groups else None)


def by_statistics(record, updates):
    """(level or '', evidence, steps needed) by what a fresh BatchNorm keeps of its first statistics."""
    loaded = {parameter.name.rpartition(".")[0] for parameter in record.parameters if parameter.loaded}
    momenta = [module.momentum for module in record.modules
               if "BatchNorm" in module.kind and module.momentum and module.training is not False
               and module.name not in loaded]
    if not momenta:
        return "", {}, 0
    momentum, per_step = min(momenta), max(1.0, record.plan.batches_per_step or 1.0)
    kept = (1 - momentum) ** (updates * per_step)
    level = "error" if kept > KEPT_ERROR else "warning" if kept > KEPT_WARNING else ""
    needed = math.ceil(math.log(0.05) / math.log(1 - momentum) / per_step)
    return level, {"batch_norm_momentum": momentum, "first_statistics_kept": rounded(kept)}, needed if level else 0


def by_way(record):
    """The same by the sum of the rates over the plan: the group that gets farthest decides."""
    found = []
    for index, group in course.trained_groups(record):
        hopeless, poor, lowest = WHOLE if course.holds_encoder(record, index) else HEAD
        budget = course.rate_budget(record, index)
        if not course.is_scale_free(group) or budget is None or course.intended_peak(record, index) <= lowest:
            return "", {}, 0
        way, updates = budget
        found.append((way / poor, way / hopeless, way, math.ceil(updates * poor / way) if way > 0 else 0))
    if not found:
        return "", {}, 0
    to_poor, to_hopeless, way, needed = max(found)
    level = "error" if to_hopeless < 1 else "warning" if to_poor < 1 else ""
    return level, {"sum_of_rates": rounded(way)} if level else {}, needed if level else 0
