"""the rate is so high that the loss diverges or the encoder collapses

What it is
    Steps so long that they tear down what pre-training built: the encoder gives every text the same vector and the
    head can only guess. The commonest confirmed cause of all: 1e-2 and 1e-3 on BERT-base, at times 3e-5 on large
    models.

How it shows
    The loss jumps up in the first steps and then hangs at the loss of guessing or above it, one class is predicted
    for everything, and no later step brings it back.

How it is found
    The rate of the groups that hold encoder weights, and harm that was measured: a loss that rises or stays above
    guessing, first-token outputs of different texts that have become alike, a rate at which fine-tuning is known to
    fail with nothing learned, or the sweep of rates, where a rate five times lower learns and this one does not.

Wrong
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)      # a rate for SGD
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
    1e-3 to 1e-2 for a head on a frozen encoder (or one that no gradient reaches: gradient-blocked), for adapters (LoRA)
    or for plain SGD, all healthy; 1e-4 on BERT-base with a falling
    loss; gradient norms of 5 to 20 in the first hundred steps; a loss that is maximised (loss-sign).
"""

import math

from diagnosis.cures import mends
from diagnosis.record.arithmetic import median, rounded
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("loss-sign", "gradients-accumulate", "loss-mismatched", "rows-repeated", "mask-wrong")
SET_BY = "lr"

SUSPICIOUS = 1.5e-4         # Adam's rate on an encoder: three times the common 5e-5; below it other faults do the harm
SUSPICIOUS_LARGE = 2.5e-5   # the same for a hidden size of 1,024 and more
FAILS = 4e-4                # BERT-base is known not to converge at it (Sun et al. 2019)
FAILS_ALONE = 1e-3          # planned, though not reached in the steps seen
HEAD = 0.05                 # Adam's rate on anything
LONG_STEP = 5e-3            # of the weights' norm per step, for optimizers whose rate says nothing by itself
ABOVE = 0.15                # of the loss of guessing: a loss so far above it is not luck
ALIKE = 0.99                # mean cosine between different texts
FAR_BETTER = 0.2            # nats by which the sweep's best rate must beat this one
BLOWN = 3.0                 # times the first loss, before it became infinite
LEAP = 2.0                  # times the loss of guessing: no luck of a batch reaches it from below 1.3 times
LEARNED = 0.95              # of the loss of guessing: a run that has come below it learns
ENOUGH = 16                 # steps without any learning
RUN_DOWN = 0.1              # of the highest rate


def check(record):
    steps, groups = course.taken(record), course.trained_groups(record)
    if not steps or not groups:
        return NotMeasured("no optimizer step with trainable weights of the model was seen")
    if not max(course.highest_rates(record), default=0) > 0:
        return None
    index, how = highest(record, groups)
    if index is None:
        return None
    found = harm(record, index, how)
    if found:
        return finding(record, index, found, "error")
    planned, seen = course.peak_rate(record, index), max(course.rates_seen(record, index), default=0.0)
    if how == "rate" and pretrained(record) and planned >= FAILS_ALONE and seen < planned / 2:
        return finding(record, index, {"planned_peak_lr": planned}, "warning")
    return None


def highest(record, groups):
    """(index of the suspicious group with the highest rate, 'rate' or 'step' for what is too large), or two None."""
    large = record.encoder is not None and record.encoder.hidden_size >= 1024
    for index, group in sorted(groups, key=lambda pair: -course.peak_rate(record, pair[0])):
        peak, scale_free = course.peak_rate(record, index), course.is_scale_free(group)
        in_encoder = course.moves_encoder(record, index)
        if scale_free and peak >= ((SUSPICIOUS_LARGE if large else SUSPICIOUS) if in_encoder else HEAD):
            return index, "rate"
        if not scale_free and (relative_step(record) or 0) >= LONG_STEP:
            return index, "step"
    return None, None


def relative_step(record):
    """Length of a step in lengths of the weights, median over the steps where it was measured."""
    return median(step.update_norm / step.weight_norm for step in course.taken(record)
                         if step.update_norm is not None and step.weight_norm)


def harm(record, index, how):
    """What the rate did, as evidence by name; {} for nothing, and for a run that learns all the same."""
    trend, guess, losses = course.trend(record), course.guessing_loss(record), course.losses_seen(record)
    rate = max(course.rates_seen(record, index), default=0.0)
    if any(course.loss_is_lost(record, step) for step in record.steps):
        if len(losses) >= 2 and max(losses) > BLOWN * max(losses[0], 0.1):
            return {"loss_first": losses[0], "loss_highest": max(losses), "loss_last": "not finite"}
    if learns(trend, guess):
        return {}
    found = collapse(record.encoder) | better_in_sweep(record, rate)
    if trend is not None and (above_guessing(record, trend, guess, losses)
                              or fails_as_known(record, index, how, rate) and not has_run_down(record, index)):
        found |= {"loss_first": trend.first, "loss_highest": max(losses), "loss_last": trend.last}
    if found and guess is not None:
        found["loss_of_guessing"] = guess
    return found


def has_run_down(record, index):
    """The schedule had taken the rate away before most of the steps seen: what they learned tells of that."""
    rates = course.rates_seen(record, index)
    return bool(rates) and median(rates) < RUN_DOWN * max(rates)


def learns(trend, guess):
    """The loss has come below that of guessing; where that is not known, it falls. A fall from a leap is not enough."""
    if trend is None:
        return False
    return trend.last < LEARNED * guess if guess is not None else trend.falls


def above_guessing(record, trend, guess, losses):
    """The loss rises, stays well above guessing, or leapt up from it and has not come below it since."""
    if guess is None:
        return trend.rises
    if any(batch.label_smoothing for batch in record.batches):
        return trend.rises and trend.last > 1.05 * guess
    leapt = losses[0] < LEAP / 1.5 * guess and max(losses) > LEAP * guess
    return trend.last > (1 + ABOVE) * guess + 2 * trend.noise or leapt or trend.rises and trend.last > 1.05 * guess


def collapse(encoder):
    """The encoder's outputs for different texts, told apart at the first step, are alike at the last."""
    if encoder is None or encoder.feature_similarity_first is None or encoder.feature_similarity_last is None:
        return {}
    first, last = encoder.feature_similarity_first, encoder.feature_similarity_last
    if not (last >= ALIKE and 1 - last <= 0.2 * (1 - first)):      # not a number: no vectors to compare
        return {}
    return {"feature_similarity_first": first, "feature_similarity_last": last}


def fails_as_known(record, index, how, rate):
    """Enough steps at a rate at which encoders are known not to converge, and nothing was learned."""
    if how != "rate" or rate < FAILS or not course.moves_encoder(record, index):
        return False
    witnessed = course.fails(record, "own-optimizer") and course.holds(record, "model-overfits")
    return len(course.after_backward(record)) >= ENOUGH and (pretrained(record) or witnessed)


def pretrained(record):
    """A pre-trained encoder of a size for which the published rates hold; tiny ones bear 1e-3."""
    encoder = record.encoder
    return encoder is not None and encoder.loaded_from is not None and encoder.hidden_size >= 256


def better_in_sweep(record, rate):
    """The sweep's best rate is at least five times lower and ends far below this one; {} otherwise."""
    ends = sweep(record)
    near = [tried for tried in ends if rate and abs(math.log(tried / rate)) < math.log(2.5)]
    if not near or not ends:
        return {}
    best, own = min(ends, key=ends.get), min(near, key=lambda tried: abs(math.log(tried / rate)))
    if best > rate / 5 or not ends[own] - ends[best] > FAR_BETTER:
        return {}
    return {"sweep_best_rate": best, "sweep_loss_at_best": ends[best], "sweep_loss_at_this": ends[own]}


def sweep(record):
    """{rate: loss at the end} of the control that tries rates; {} where it was not made."""
    control = record.control("rate-sweep")
    figures = control.figures if control is not None else {}
    rates, losses = figures.get("rates"), figures.get("losses")
    pairs = zip(rates, losses) if isinstance(rates, list) and isinstance(losses, list) else (losses or {}).items() \
        if isinstance(losses, dict) else ()
    return {float(rate): math.inf if loss is None else float(loss) for rate, loss in pairs}


def finding(record, index, found, level):
    group, rates = record.groups[index], course.rates_seen(record, index)
    inside = course.moves_encoder(record, index)
    evidence = {"lr": rounded(max(rates, default=group.rate)), "optimizer": group.optimizer,
                "step_over_weights": rounded(relative_step(record)),
                **{name: rounded(value) for name, value in found.items()}}
    if level == "warning":
        title = f"the schedule will raise the rate to {found['planned_peak_lr']:.2g}, at which encoders do not converge"
    elif "feature_similarity_last" in found:
        title = f"at a rate of {evidence['lr']:.2g} the encoder has collapsed: all texts give the same vector"
    else:
        title = f"at a rate of {evidence['lr']:.2g} the loss " + (
            "diverges" if found.get("loss_last") == "not finite" or
            found.get("loss_last", 0) > 1.1 * found.get("loss_first", math.inf) else "does not come below guessing")
    return Finding(level, title, {name: value for name, value in evidence.items() if value is not None},
                   "steps of this length undo the pre-training before the labels can teach anything" if inside else
                   "steps of this length jump over every minimum",
                   "lower the rate to 2e-5 to 5e-5 for the encoder (a head on top may have 1e-3), with a tenth of the "
                   "steps as warm-up" if inside else "lower the rate tenfold, and tenfold again if need be", group.made)


def mend(record):
    return mends.rate_held(record)
