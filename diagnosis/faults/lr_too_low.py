"""the rate is too low for anything to be learned within this run, by the whole model or a fresh head

What it is
    A step of Adam moves each weight by at most about the rate, whatever the gradient. The sum of the rates over all
    planned steps therefore bounds how far any weight can get, and here it is too short a way.

How it shows
    The loss sinks by thousandths. With a frozen encoder and the encoder's usual rate the head stays as random as it
    was made, and the accuracy at chance.

How it is found
    The sum of the rates over the planned steps. For a model that is trained whole, at a rate of 5e-6 or below, 2e-4
    is too little and 5e-4 poor: measured with the embedded encoder on the sample, these ways leave the loss within
    0.025 and 0.05 of guessing, the same at 1e-6, 3e-6 and 1e-5. For a head on a frozen encoder 4e-3 leads nowhere
    (0.01 with a linear head, 0.02 with a hidden layer) and 2e-2 not far (0.02 and 0.06). For plain gradient descent
    the bound is the sum of rate x squared gradient norm, all that the loss can fall by to first order. The controls
    are second witnesses: this optimizer does not learn one batch that a plain one learns.

Wrong
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-7)
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
    2e-5 on a whole pre-trained encoder, where the loss may lie flat for 10 to 50 steps; small rates in low layers with
    larger ones above; a warm-up that has only begun; a rate that a schedule keeps low (the schedule faults).
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import median, rounded
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("encoder-frozen", "lr-zero", "schedule-per-epoch", "warmup-too-long", "schedule-exhausted",
             "clip-too-tight", "clip-before-unscale", "half-weights", "optimizer-missing-params", "head-frozen",
             "model-remade")
SET_BY = "lr"

# (highest rate at which the bound is asked for, sum of rates that is an error, sum that is a warning)
WHOLE = (5e-6, 2e-4, 5e-4)
HEAD = (1e-4, 4e-3, 2e-2)
CONFIRMED = 1e-6        # of the whole model: with the controls as witnesses too low however long the run is
FALL_BOUND = 0.05       # nats: plain gradient descent could lower the loss by no more, even without noise
FALL_DOUBTFUL = 1.0     # nats: it could, had the gradient no noise; too little if the control learns nothing either
SCHEDULED = 0.5         # of its peak, what a healthy schedule's rate is on average


def check(record):
    groups = course.trained_groups(record)
    if not record.groups or not groups:
        return NotMeasured("no optimizer with trainable weights of the model was seen")
    updates = course.planned_updates(record)
    if updates is None and not course.fails(record, "own-optimizer"):
        return NotMeasured("the planned number of optimizer steps is not known")
    peaks = {index: course.intended_peak(record, index) for index, _ in groups}
    if max(peaks.values()) <= 1e-10:
        return None                     # lr-zero
    if course.holds(record, "own-optimizer") or already_learned(record):
        return None
    if all(course.is_scale_free(group) for _, group in groups):
        return for_adam(record, groups, peaks, updates)
    if not any(course.is_scale_free(group) for _, group in groups):
        return for_gradient_descent(record, peaks, updates)
    return None


def for_adam(record, groups, peaks, updates):
    moving = [index for index, rate in peaks.items() if rate > 1e-10]
    head_only = record.encoder is not None and not any(
        course.in_encoder(parameter) and parameter.part != "pooler" and not course.is_adapter(parameter)
        for index in moving for parameter in course.trained_by(record, index))
    top, hopeless, poor = HEAD if head_only and record.parameters else WHOLE
    rate = max(peaks[index] for index in moving)
    way = rate * (updates or 0) * (SCHEDULED if record.schedules else 1)
    falls = (trend := course.trend(record)) is not None and trend.falls
    if updates and rate <= top and way < poor and not (falls and way >= hopeless):
        level = "error" if way < hopeless and not falls else "warning"
        return finding(record, level, rate, way, updates, head_only)
    if witnessed(record) and rate <= (1e-5 if head_only else CONFIRMED):
        return finding(record, "warning" if falls or updates else "error", rate, way or None, updates, head_only)
    return fresh_head(record, peaks)


def witnessed(record):
    """A plain optimizer learns one batch, the script's own does not."""
    return course.fails(record, "own-optimizer") and course.holds(record, "model-overfits")


def already_learned(record):
    """The model came trained for this task: its loss is far below guessing from the start."""
    trend, guess = course.trend(record), course.guessing_loss(record)
    return trend is not None and guess is not None and guess > 0.3 and trend.first < 0.6 * guess


def finding(record, level, rate, way, updates, head_only):
    adapters = any(course.is_adapter(parameter) for parameter in record.parameters if parameter.trainable)
    fresh = "adapters and the head" if adapters else "the head"
    trend, what = course.trend(record), fresh if head_only else "the whole model"
    evidence = {
        "lr": rounded(rate),
        "planned_optimizer_steps": round(updates) if updates else None,
        "sum_of_rates": rounded(way),
        "loss_first": rounded(trend.first) if trend else None,
        "loss_last": rounded(trend.last) if trend else None,
        "own_optimizer_learns_one_batch": getattr(record.control("own-optimizer"), "outcome", None),
    }
    better = "1e-3" if head_only else "2e-5 to 5e-5"
    group = next((group for index, group in course.trained_groups(record)), record.groups[0])
    return Finding(level, f"a rate of {rate:.2g} is too low for {what} to learn anything within this run",
                   {name: value for name, value in evidence.items() if value is not None},
                   "Adam moves a weight by at most about the rate per step, "
                   + (f"here by {way:.1g} in the whole run: " if way else "whatever the gradient: ")
                   + ("a freshly made head stays random" if head_only else "the model stays what it was"),
                   f"raise the rate of {what} to {better}", group.made)


def fresh_head(record, peaks):
    """A head with a group of its own at a rate far below the encoder's."""
    heads = {index: rate for index, rate in peaks.items() if record.encoder is not None
             and course.trained_by(record, index)
             and all(parameter.part == "head" for parameter in course.trained_by(record, index))}
    others = [rate for index, rate in peaks.items() if index not in heads]
    if not heads or not others or max(heads.values()) > CONFIRMED or max(heads.values()) * 10 > max(others):
        return None
    index = max(heads, key=heads.get)
    if heads[index] <= 1e-10:
        return None                     # lr-zero mentions it
    return Finding("warning", f"the head's rate of {heads[index]:.2g} is far below the encoder's {max(others):.2g}",
                   {"head_lr": heads[index], "encoder_lr": max(others)},
                   "the head starts random and hardly moves; the encoder has to bend to it",
                   "give the head at least the encoder's rate, better ten times as much", record.groups[index].made)


def for_gradient_descent(record, peaks, updates):
    """SGD: to first order the loss falls by rate x squared gradient norm / (1 - momentum) a step, noise included."""
    norm = median(step.gradient_norm for step in course.taken(record))
    if not norm:
        return NotMeasured("the gradient's norm at the optimizer's step was not measured")
    raw = median(step.clip.norm_before for step in course.taken(record) if step.clip)
    norm = max(norm, raw or 0.0)        # what clipping takes away is clip-too-tight's matter
    rate = max(peaks.values())
    momentum = max(group.momentum or 0.0 for group in record.groups)
    fall = rate * norm ** 2 / max(1 - momentum, 0.01) * (updates or 0) * (SCHEDULED if record.schedules else 1)
    hopeless = updates and fall < FALL_BOUND
    if not hopeless and not (witnessed(record) and (not updates or fall < FALL_DOUBTFUL)):
        return None
    trend = course.trend(record)
    if trend is not None and trend.falls:
        return None
    return Finding("error", f"a rate of {rate:.2g} is too low for {record.groups[0].optimizer} to learn in this run",
                   {"lr": rate, "momentum": momentum, "gradient_norm": rounded(norm),
                    "planned_optimizer_steps": round(updates) if updates else None,
                    "loss_can_fall_by": rounded(fall)},
                   "plain gradient descent moves by rate x gradient; with gradients of this size all planned steps "
                   "together hardly lower the loss",
                   "use AdamW with 2e-5 to 5e-5, or raise this rate by two to three orders of magnitude",
                   record.groups[0].made)


def mend(record):
    return mends.rate_held(record)
