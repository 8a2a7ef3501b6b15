"""clipping shrinks the update to next to nothing

What it is
    The gradient is shortened to a length at which the optimizer no longer moves. Adam divides a scale out again until
    the gradients come near its eps; plain gradient descent moves in proportion to what clipping leaves.

How it shows
    The loss creeps or stands still at a rate that is known to be good; without clipping the same run learns.

How it is found
    By the update, not by the gradient's norm, whether torch clips or the script's own code between backward and step:
    for Adam and its kin, by what eps leaves of a step when the clipped norm is spread over N weights,
    1 / (1 + eps sqrt(N) / norm); for SGD, by the most the loss can fall in all planned steps with the clipped gradients
    against the same with those before clipping.

Wrong
    for batch in loader:
        loss_of(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-8)
        optimizer.step()
        optimizer.zero_grad()

Right
    for batch in loader:
        loss_of(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

Not to be confused with
    Norms of 5 to 20 clipped to 1 at every step, and even to 0.1 with Adam: both healthy. Gradients clipped while they
    still bear the loss scale (clip-before-unscale).
"""

import math
from dataclasses import replace

from diagnosis.cures import mends
from diagnosis.record.arithmetic import median, rounded
from diagnosis.record.record import Clip
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("clip-before-unscale",)
SET_BY = "max_norm"

SMALL, TINY = 0.5, 0.1      # share of its step that Adam keeps: below the first a warning, the second an error
FALL = 0.05                 # nats: gradient descent could lower the loss by no more in the whole run
SHORTENED = 10              # times: clipping must be the reason
FEWEST = 3                  # steps before which the script's own code shortens the gradient


def check(record):
    steps = course.taken(record)
    if not steps:
        return NotMeasured("no optimizer step was seen")
    clipped = [step for step in steps if step.clip is not None and not step.clip.scaled]
    if len(clipped) < 0.5 * len(steps):
        clipped = shortened_by_own_code(steps)
    if not clipped:
        return None
    groups = course.trained_groups(record)
    if any(course.is_scale_free(group) for _, group in groups):
        return for_adam(record, clipped, groups)
    return for_gradient_descent(record, clipped, groups)


def shortened_by_own_code(steps):
    """The steps before which the script's own code shortened the gradient, each with a Clip that says so; none where it
    does that now and then."""
    measured = [step for step in steps if step.clip is None and step.norm_of_backward and step.gradient_norm]
    short = [step for step in measured if step.norm_of_backward > SHORTENED * step.gradient_norm]
    if len(short) < FEWEST or len(short) < len(measured):
        return []
    return [replace(step, clip=Clip("own", step.gradient_norm, step.norm_of_backward, False, step.site))
            for step in short]


def norm_left(step):
    """The gradient's norm after clipping, as the optimizer saw it; 0 for a limit of 0."""
    if step.clip.limit <= 0:
        return 0.0
    if step.gradient_norm is not None:
        return step.gradient_norm
    return min(step.clip.limit, step.clip.norm_before) if step.clip.norm_before is not None else None


def bites(step):
    """The call did shorten the gradient (always assumed where it clips by value)."""
    return step.clip.norm_before is None or step.clip.norm_before > step.clip.limit


def for_adam(record, clipped, groups):
    norm = median(norm_left(step) for step in clipped if bites(step))
    if norm is None:
        return None
    epsilon = max((group.epsilon for _, group in groups if group.epsilon is not None), default=1e-8)
    weights = (sum(parameter.elements for parameter in record.parameters
                   if parameter.trainable and parameter.group is not None)
               or sum(group.elements for _, group in groups))
    kept = norm / (norm + epsilon * math.sqrt(weights)) if norm > 0 else 0.0
    if kept >= SMALL:
        return None
    return finding(record, clipped, norm, "error" if kept < TINY else "warning",
                   {"share_of_step_kept": rounded(kept), "eps": epsilon, "weights": weights},
                   f"spread over {weights:,} weights such gradients are no larger than Adam's eps, which then keeps "
                   "the step small")


def for_gradient_descent(record, clipped, groups):
    updates = course.planned_updates(record)
    pairs = [(step.clip.norm_before, norm_left(step)) for step in clipped
             if step.clip.norm_before and norm_left(step) is not None]
    if not pairs:
        return None
    before, left = median(norm for norm, _ in pairs), median(norm for _, norm in pairs)
    if before is None or left is None or before < SHORTENED * left:
        return None
    if updates is None:
        return NotMeasured("the planned number of optimizer steps is not known")
    rate = max(course.intended_peak(record, index) for index, _ in groups)
    momentum = max(group.momentum or 0.0 for _, group in groups)
    way = rate * updates / max(1 - momentum, 0.01)
    if way * before * left >= FALL or way * before * before < FALL:
        return None     # enough is left, or the rate is too low even without clipping
    return finding(record, clipped, left, "error",
                   {"loss_can_fall_by": rounded(way * before * left),
                    "without_clipping": rounded(way * before * before)},
                   "gradient descent moves by rate x clipped gradient, and that is next to nothing")


def finding(record, clipped, norm, level, more, why):
    clip = clipped[0].clip
    updates = median(step.update_norm / step.weight_norm for step in clipped
                            if step.update_norm is not None and step.weight_norm)
    evidence = {"clip_limit": clip.limit, "norm_before": rounded(median(
        step.clip.norm_before for step in clipped)), "norm_after": rounded(norm),
        "steps_clipped": len(clipped), "update_over_weights": rounded(updates), **more}
    how = "shortened between backward() and this step" if clip.kind == "own" else "clipped"
    return Finding(level, f"gradients are {how} to {clip.limit:.2g}, which leaves next to nothing of the update",
                   {name: value for name, value in evidence.items() if value is not None}, why,
                   "clip to a norm of 1.0, the usual limit, or not at all", clip.site)


def mend(record):
    return mends.unclipped(record)
