"""Does this run learn? Told from what was measured, before any cause is looked for.

From the losses of the steps seen, the loss of guessing, the change of the weights and the control that asks whether the
model tells its inputs apart. A loss that stays flat for some dozen steps at a small rate is healthy, so flat losses alone
are too early to tell.
"""

import math

from diagnosis.record.arithmetic import norm_of
from diagnosis.verdict import course
from diagnosis.verdict.measures import is_learning

LEARNS, DOES_NOT_LEARN, TOO_EARLY = "learns", "does not learn", "too early to tell"
NO_CHANGE = 1e-3        # of the weights' norm over the whole plan: fine-tuning changes them by some hundredths
CLIMBED = 2.0           # times the loss of guessing: no healthy run of a classifier is there after some dozen steps
UNPLANNED = 10          # times the steps seen, where nobody knows how long the run is
MOST_SEEN = 0.8         # share of the planned steps from which on there is nothing left to wait for


def measured(record):
    """One of the three outcomes, or '' where no optimizer step was seen."""
    if not record.optimizer_steps:
        return ""
    if is_learning(record):
        return LEARNS
    movement, planned = course.trend(record), course.planned_updates(record)
    if losses_are_lost(record) or climbs(record, movement):
        return DOES_NOT_LEARN
    if movement is None or movement.falls:
        return TOO_EARLY
    if hardly_moves(record, planned):       # what it tells apart is then what it began with
        return DOES_NOT_LEARN
    nothing_left = planned is not None and record.optimizer_steps >= MOST_SEEN * planned
    return DOES_NOT_LEARN if nothing_left and not course.holds(record, "input-matters") else TOO_EARLY


def losses_are_lost(record):
    """The last losses are all NaN or infinite."""
    steps = course.after_backward(record)[-5:]
    return bool(steps) and all(course.loss_is_lost(record, step) for step in steps)


def climbs(record, movement):
    """The loss has risen far above that of guessing."""
    guess = course.guessing_loss(record)
    return movement is not None and guess is not None and movement.rises and movement.last > CLIMBED * guess


def hardly_moves(record, planned):
    """At this pace all trainable weights change by next to nothing in the whole run, or decay alone moves them."""
    known = [parameter for parameter in record.parameters
             if parameter.trainable and parameter.change is not None and parameter.norm_first is not None]
    weights = norm_of([parameter.norm_first for parameter in known])
    if not known or not weights:
        return False
    gradients = [norm for parameter in known for norm in parameter.gradient_norms if norm is not None]
    if gradients and not any(gradients):
        return True
    change = norm_of([parameter.change for parameter in known]) / weights
    pace = change / record.optimizer_steps
    return math.isfinite(pace) and pace * (planned or UNPLANNED * record.optimizer_steps) < NO_CHANGE
