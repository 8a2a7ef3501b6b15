"""the loss is maximised

What it is
    The optimizer climbs: backward runs on the negative of the loss, a minus is missing in a hand-written
    log-likelihood, or the optimizer was made with maximize=True, or its own step() adds what it should subtract.

How it shows
    The loss grows without bound from the first steps, the accuracy falls below guessing, the logits explode.

How it is found
    The sign with which the tensor given to backward depends on what the loss function returned, and the optimizer's
    maximize. For an optimizer of the script's own: the weights' change in its first steps points along the gradient
    and not against it. For hand-written losses: the tensor given to backward is the cross-entropy of logits and labels,
    negated; or it falls while that cross-entropy climbs (a focal loss without its minus).

Wrong
    for batch in loader:
        loss = -loss_of(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

Right
    for batch in loader:
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

Not to be confused with
    A loss that grows because the rate is too high; maximize=True on a negated loss, which is right again; a negative
    loss value alone, which nll_loss on probabilities also has.
"""

import math
import statistics

from diagnosis.cures import mends
from diagnosis.record.arithmetic import median, rounded, share
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("loss-mismatched",)

MOSTLY = 0.5
PAIRS = 6       # of hand-written loss and cross-entropy that must agree
CLIMBED = 1.5   # times the loss of guessing
FIRST = 5       # steps of an optimizer of the script's own that are looked at, before momentum leads them astray
UPHILL = 0.1    # cosine of the weights' change and the gradient, from which a step climbs
EXACT = 0.05    # scatter of their quotient (smoothing, class weights and accumulation keep it near a constant)


def check(record):
    training = record.batches_of("training")
    if not training and not record.groups:
        return NotMeasured("no training step was seen")
    signs = [batch.loss_sign for batch in training if batch.loss_sign]
    own = course.sets_its_own_rate(record)
    uphill = goes_uphill(record)
    climbing = [group for _, group in course.trained_groups(record) if group.maximize]
    negated = (share(sign < 0 for sign in signs) or 0) > MOSTLY
    if not signs:
        negated = negative_of_cross_entropy(training) or falls_against_the_labels(training)
    if negated == (uphill or bool(climbing)):       # neither, or both: a maximized negative is a minimized loss
        return None
    trend = course.trend(record)
    evidence = {"sign_of_loss_in_backward": -1 if negated else 1, "maximize": bool(climbing),
                "cosine_of_step_and_gradient": rounded(along(record)) if uphill else None,
                "loss_first": rounded(trend.first) if trend else None,
                "loss_last": rounded(trend.last) if trend else None}
    if uphill and own is None:
        title, where = "the script moves the weights along the gradient, uphill", record.backward_site
        fix = "subtract from the weights what is added to them after this backward()"
    elif uphill:
        title = f"the step of {own.optimizer} moves the weights along the gradient, uphill"
        where = own.step_defined or own.made
        fix = f"subtract in the step() of {own.optimizer} what it adds to the weights"
    elif climbing:
        title, fix, where = "the optimizer maximizes the loss", "leave out maximize=True", climbing[0].made
    else:
        title, where = "backward runs on the negative of the loss", record.backward_site
        fix = "call backward() on the loss itself, without the minus" if signs else \
            "put the minus back: the loss is minus the log-likelihood"
    return Finding("error", title, {name: value for name, value in evidence.items() if value is not None},
                   "each step makes the predictions worse", fix, where)


def along(record):
    """Median cosine of the weights' change and the gradient over the first steps in which it was measured, or None."""
    return median([step.along_gradient for step in course.taken(record) if step.along_gradient is not None][:FIRST])


def steps_by_hand(record):
    return bool(record.steps) and record.steps[0].by_hand


def goes_uphill(record):
    """A step of the script's own moves the weights along the gradient; torch's optimizers say so by maximize."""
    return (along(record) or 0.0) > UPHILL and (course.sets_its_own_rate(record) is not None or steps_by_hand(record))


def negative_of_cross_entropy(training):
    """A hand-written loss that is a constant, negative multiple of the cross-entropy of its logits and labels."""
    quotients = []
    for batch in training:
        entropy = cross_entropy(batch)
        if entropy and batch.loss is not None and batch.loss_function is None and math.isfinite(batch.loss):
            quotients.append(batch.loss / entropy)
    if len(quotients) < PAIRS or max(quotients) >= 0:
        return False
    return statistics.pstdev(quotients) < EXACT * abs(statistics.fmean(quotients))


def falls_against_the_labels(training):
    """A hand-written loss falls, while the cross-entropy of the same logits and labels climbs far above guessing."""
    known = [(batch.loss, entropy) for batch in training if batch.loss is not None and math.isfinite(batch.loss)
             and batch.loss_function is None and (entropy := cross_entropy(batch)) is not None]
    if len(known) < PAIRS:
        return False
    part = len(known) // 3
    (loss, entropy), (last_loss, last_entropy) = (map(statistics.fmean, zip(*some))
                                                  for some in (known[:part], known[-part:]))
    return last_loss < loss and last_entropy > CLIMBED * max(entropy, math.log(training[0].outputs or 2))


def cross_entropy(batch):
    """Mean cross-entropy of a batch's logits and labels in nats, or None."""
    if not batch.logits or not batch.labels or len(batch.logits) != len(batch.labels):
        return None
    losses = []
    for row, label in zip(batch.logits, batch.labels):
        if not 0 <= label < len(row) or not all(map(math.isfinite, row)):
            return None
        top = max(row)
        losses.append(top + math.log(sum(math.exp(logit - top) for logit in row)) - row[label])
    return statistics.fmean(losses)


def mend(record):
    if not goes_uphill(record):
        return mends.cross_entropy(record)
    return None if steps_by_hand(record) else mends.steps_turned_round()    # which hang on an optimizer's
