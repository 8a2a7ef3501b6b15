"""weight decay overwhelms the gradient

What it is
    The pull of the weights towards 0 is stronger than what the labels ask for. AdamW shrinks every weight by
    exp(-decay x sum of rates) over the run; Adam and SGD add decay x weight to the gradient.

How it shows
    The loss creeps up to guessing and stays; the weights' norms fall from step to step and pre-training fades.

How it is found
    For AdamW and SGD the share of every weight that decay alone takes away over the planned steps: from a tenth a
    warning, from a half an error. For Adam with an L2 term, decay x weight norm against the gradient's norm.

Wrong
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=10_000.0)
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

Right
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.01)
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

Not to be confused with
    0.01 to 0.1 with AdamW at fine-tuning rates, which take away less than a thousandth; a rate so high that even a
    usual decay bites (lr-too-high).
"""

import math

from diagnosis.cures import mends
from diagnosis.record.arithmetic import median, norm_of, rounded
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("lr-too-high",)
SET_BY = "weight_decay"

BITES, OVERWHELMS = 0.1, 0.5    # of each weight, taken away over the whole run
USUAL = 0.1                     # decays up to this are not to blame, whatever the rate makes of them
L2_BITES, L2_OVERWHELMS = 5.0, 20.0     # decay x weights over the gradient, both norms, for Adam with L2
                                        # (0.01 on BERT-base comes to about 1 and is healthy)


def check(record):
    groups = course.trained_groups(record)
    if not groups:
        return NotMeasured("no optimizer with trainable weights of the model was seen")
    found, unknown = [], None
    for index, group in groups:
        if group.weight_decay <= USUAL and (not is_l2_in_adam(group) or group.weight_decay <= 0):
            continue
        outcome = l2_in_adam(record, index) if is_l2_in_adam(group) else shrinking(record, index)
        if group.own_code and isinstance(outcome, Finding) and not shrinks(record, index):
            outcome = NotMeasured(f"what {group.optimizer}, code of the script's own, makes of its decay is not known, and "
                                  "the weights did not shrink in the steps seen")
        if isinstance(outcome, NotMeasured):
            unknown = outcome
        elif outcome:
            found.append(outcome)
    found.sort(key=lambda decayed: decayed.level)       # 'error' before 'warning'
    return found[0] if found else unknown


def shrinks(record, index):
    """The weights' norm has fallen in the steps seen."""
    first, last = (norm_of(getattr(parameter, name) for parameter in course.trained_by(record, index))
                   for name in ("norm_first", "norm_last"))
    return bool(first and last) and last < (1 - BITES) * first


def is_l2_in_adam(group):
    return course.is_scale_free(group) and not course.is_decoupled(group)


def shrinking(record, index):
    """AdamW, and SGD, whose L2 term comes to the same: what decay alone leaves of a weight at the end of the plan."""
    group, budget = record.groups[index], course.rate_budget(record, index)
    if budget is None:
        return NotMeasured("the planned number of optimizer steps is not known")
    total, updates = budget
    momentum = 0.0 if course.is_decoupled(group) else group.momentum or 0.0
    lost = 1 - math.exp(-group.weight_decay * total / max(1 - momentum, 0.01))
    if lost < BITES:
        return None
    level = "error" if lost >= OVERWHELMS and course.holds_encoder(record, index) else "warning"
    return finding(record, index, level, f"weight decay takes {100 * lost:.0f} % of the weights over the run",
                   {"share_lost_in_run": rounded(lost), "planned_optimizer_steps": round(updates)})


def l2_in_adam(record, index):
    """Adam normalizes the sum of gradient and decay x weight: the larger of the two sets the direction."""
    group, held = record.groups[index], course.trained_by(record, index)
    weights = norm_of(parameter.norm_first for parameter in held)
    gradient = norm_of(median(parameter.gradient_norms) for parameter in held)
    steps = course.taken(record)
    weights = weights or median(step.weight_norm for step in steps)
    gradient = gradient or median(step.gradient_norm for step in steps)
    if not weights or not gradient:
        return NotMeasured("the norms of weights and gradients were not measured")
    ratio = group.weight_decay * weights / gradient
    if ratio < L2_BITES:
        return None
    return finding(record, index, "error" if ratio >= L2_OVERWHELMS else "warning",
                   f"weight decay is {ratio:.0f} times as strong as the gradient",
                   {"decay_times_weights": rounded(group.weight_decay * weights),
                    "gradient_norm": rounded(gradient)})


def finding(record, index, level, title, more):
    group, held = record.groups[index], course.trained_by(record, index)
    first = norm_of(parameter.norm_first for parameter in held)
    last = norm_of(parameter.norm_last for parameter in held)
    evidence = {"weight_decay": group.weight_decay, "optimizer": group.optimizer,
                "lr": rounded(course.peak_rate(record, index)), **more}
    if first and last:
        evidence |= {"weight_norm_first": rounded(first, 6), "weight_norm_last": rounded(last, 6)}
    return Finding(level, title, evidence, "the weights are pulled to 0 harder than the labels can pull elsewhere",
                   "use a weight decay of 0.01" + ("" if course.is_decoupled(group) else " with AdamW"), group.made)


def mend(record):
    return mends.without_decay(record)
