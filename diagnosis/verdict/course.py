"""The course of a training run, read off a record: steps, losses, groups, rates and schedules over the whole plan.

What several checks need of it; a fault's own thresholds stay in its file.
"""

import math
import statistics
from dataclasses import dataclass

from diagnosis.record.arithmetic import chance_loss
from diagnosis.record.record import place

# Optimizers whose step has about the length of the rate whatever the gradient's scale (Adam and its kin).
SCALE_FREE = ("adam", "lion", "lamb", "rmsprop", "rprop")
# Those of them that shrink the weights by rate x decay apart from the gradient.
DECOUPLED = ("adamw", "lion", "lamb", "adafactor", "decoupled")
# In the names of parameters that peft and its kin add.
ADAPTERS = ("lora_", "adapter", "prompt_", "ia3_")


# ---- steps


def taken(record):
    """The steps that the optimizer really made, those skipped by a scaler left out."""
    return [step for step in record.steps if not step.skipped]


def after_backward(record):
    """One step for each update of the run: of optimizers that step side by side only the first follows a backward."""
    return [step for step in taken(record) if step.backwards > 0]


def side_by_side(record):
    """How many optimizers step one after the other after each backward; 1 in nearly every script."""
    updates = len(after_backward(record))
    return max(1, round(len(taken(record)) / updates)) if updates else 1


def updates_per_epoch(record):
    """Optimizer steps in one epoch of the plan, or None. Epochs cut short by the observer do not count."""
    plan = record.plan
    if not plan.batches_per_epoch:
        return None
    batches = plan.batches_per_step or 1.0
    return plan.batches_per_epoch / (batches * (side_by_side(record) if batches < 0.9 else 1))


def planned_updates(record):
    """Optimizer steps of the whole run as the script means it, or None."""
    if record.plan.steps:
        doubled = (record.plan.batches_per_step or 1.0) < 0.9
        return record.plan.steps / (side_by_side(record) if doubled else 1)
    if record.plan.epochs and updates_per_epoch(record):
        return record.plan.epochs * updates_per_epoch(record)
    return None


def planned_epochs(record):
    """Epochs of the plan, or None."""
    if record.plan.epochs:
        return record.plan.epochs
    if record.plan.steps and updates_per_epoch(record):
        return max(1, math.ceil(planned_updates(record) / updates_per_epoch(record) - 1e-9))
    return None


# ---- the loss


@dataclass
class Trend:
    """The loss over the steps seen, in nats."""
    first: float        # mean over the first third of the updates
    last: float         # mean over the last third
    noise: float        # standard error of the difference of the two, from neighbouring updates

    @property
    def falls(self):
        return self.last < self.first - 2 * self.noise and self.last < 0.98 * self.first

    @property
    def rises(self):
        return self.last > self.first + 3 * self.noise and self.last > 1.1 * self.first


def losses_seen(record):
    """The finite training losses in order: as the loss function returned them, else as backward saw them."""
    returned = [batch.loss for batch in record.batches_of("training")]
    at_backward = [step.loss for step in after_backward(record)]
    finite = [[loss for loss in losses if loss is not None and math.isfinite(loss)]
              for losses in (returned, at_backward)]
    return finite[0] if len(finite[0]) >= 8 else finite[1]


def loss_is_lost(record, step):
    """The loss at a step is NaN or infinite. Times a scaler's factor it may be, while the loss itself is finite."""
    if step.loss is None or math.isfinite(step.loss):
        return False
    returned = [batch.loss for batch in record.batches_of("training") if batch.loss is not None]
    return step.scale is None or not returned or not all(map(math.isfinite, returned))


def trend(record):
    """The trend of the loss, or None with fewer than eight finite losses.

    Neighbouring losses differ by the luck of the batch and hardly by learning, so half their mean squared difference
    is the variance of one loss.
    """
    losses = losses_seen(record)
    if len(losses) < 8:
        return None
    third = len(losses) // 3
    variance = statistics.fmean((b - a) ** 2 for a, b in zip(losses, losses[1:])) / 2
    return Trend(statistics.fmean(losses[:third]), statistics.fmean(losses[-third:]), math.sqrt(2 * variance / third))


def guessing_loss(record):
    """The loss of guessing by class frequency among the training labels seen, in nats, or None."""
    seen = [label for batch in record.batches_of("training") for label in batch.labels or ()]
    labels = record.training.labels or seen
    weighted = any(batch.class_weights for batch in record.batches)
    others = {batch.loss_function for batch in record.batches_of("training")} - {"cross_entropy", "nll_loss", None}
    if len(labels) < 16 or weighted or others:
        return None             # the loss of guessing is another one
    guess, losses = chance_loss(labels), losses_seen(record)
    # a sum over the rows of the batch, a likelihood, or otherwise another loss
    another = bool(losses) and (losses[0] > 3 * guess or losses[-1] < 0)
    return None if another else guess


def fails(record, name):
    """The control of that name was made and its answer is no."""
    control = record.control(name)
    return control is not None and control.outcome is False


def holds(record, name):
    """The control of that name was made and its answer is yes."""
    control = record.control(name)
    return control is not None and control.outcome is True


# ---- groups and their weights


def is_scale_free(group):
    return group.epsilon is not None or any(name in group.optimizer.lower() for name in SCALE_FREE)


def is_decoupled(group):
    """AdamW and its kin; torch's plain Adam and SGD add the decay to the gradient instead."""
    if group.decoupled is not None:
        return group.decoupled
    return any(name in group.optimizer.lower() for name in DECOUPLED)


def sets_its_own_rate(record):
    """The group of an optimizer whose step may follow a schedule of its own (BertAdam), so that only the weights' measured
    change tells its rate; None where all take group["lr"] as it stands."""
    return next((group for _, group in trained_groups(record) if group.own_code), None)


def measured_lengths(record):
    """Length of the weights' change at each step where it was measured and there was a gradient."""
    return [step.update_norm for step in taken(record) if step.update_norm is not None and step.gradient_norm]


def trained_by(record, index):
    """The trainable parameters in the group of that index."""
    return [parameter for parameter in record.parameters if parameter.group == index and parameter.trainable]


def in_encoder(parameter):
    return parameter.part != "head"


def is_adapter(parameter):
    """One of the small fresh weights that LoRA and its kin put into an encoder."""
    return any(word in parameter.name for word in ADAPTERS)


def trained_groups(record):
    """(index, group) of each group that holds trainable weights; all groups where parameters were not recorded."""
    return [(index, group) for index, group in enumerate(record.groups)
            if not record.parameters or trained_by(record, index)]


def holds_encoder(record, index):
    """At least half of the weights that a group trains are the encoder's."""
    if record.encoder is None:
        return True                 # what is not known to be a head is treated with an encoder's care
    sizes = [(parameter.elements, in_encoder(parameter) and not is_adapter(parameter))
             for parameter in trained_by(record, index)]
    return sum(size for size, inside in sizes if inside) > 0.5 * sum(size for size, _ in sizes) if sizes else False


def moves_encoder(record, index):
    """A group's rate is one for whole layers of the encoder: it trains more of them than adapters beside frozen weights
    are, and gradients reach them. Where no encoder is known: it trains most of the model."""
    held = trained_by(record, index)
    if not record.parameters or not held:
        return holds_encoder(record, index)
    reached = [parameter for parameter in held if not parameter.gradient_norms or any(parameter.gradient_norms)]
    if record.encoder is None:
        return sum(each.elements for each in reached) >= 0.5 * sum(each.elements for each in record.parameters)
    return holds_encoder(record, index) and any(
        in_encoder(parameter) and is_mostly_trained(record, parameter.part) for parameter in reached)


def is_mostly_trained(record, part):
    """At least half of the weights of a part ('layer 3') are trainable: no adapters, no biases alone."""
    return 2 * sizes_by_part(each for each in record.parameters if each.trainable).get(part, 0) \
        >= sizes_by_part(record.parameters)[part]


def sizes_by_part(parameters):
    sizes = {}
    for parameter in parameters:
        sizes[parameter.part] = sizes.get(parameter.part, 0) + parameter.elements
    return sizes


def rates_seen(record, index):
    """The rates of one group at the steps seen; a group that came later has none at the first steps."""
    return [step.rates[index] for step in taken(record)
            if index < len(step.rates) and math.isfinite(step.rates[index])]


def highest_rates(record):
    """The highest rate of any group at each step seen."""
    known = [[rate for rate in step.rates if math.isfinite(rate)] for step in taken(record)]
    return [max(rates) for rates in known if rates]


# ---- schedules


@dataclass
class Pace:
    """How the script moves a schedule: 'step' (per_update of its steps at each update), 'epoch' or 'never'."""
    kind: str
    per_update: float = 0.0
    seen: bool = True           # by its calls; False: read in the source


def pace(record, schedule):
    """How often a schedule is stepped, or None where that cannot be told.

    Only the gaps between two updates of one epoch tell: the observer cuts epochs short, so that calls divided by
    updates would make a schedule stepped per epoch look ten times faster than it is. Scripts that make their batches
    without a loader have one long epoch; there a call in every seventh gap or fewer is one per epoch.
    """
    steps = taken(record)
    neighbours = list(enumerate(zip(steps, steps[1:]), start=1))
    within = [made for made, (step, after) in neighbours if step.epoch == after.epoch]
    between = [made for made, (step, after) in neighbours if step.epoch != after.epoch]
    updates_within = len(within) / side_by_side(record)
    calls_within = sum(made in set(within) for made in schedule.calls_at)
    calls_between = sum(made in {*between, len(steps)} for made in schedule.calls_at)
    if calls_within:
        ratio = calls_within / updates_within
        rare = ratio < 0.15 and not between and record.training.loader is None and not schedule.call_in_batch_loop
        return Pace("epoch") if rare else Pace("step", ratio)
    if not within and len(between) >= 3 and calls_between:
        return Pace("step", calls_between / len(between))       # one update per epoch: both are the same
    inferred = schedule.call_site is not None and schedule.call_in_batch_loop is False
    if updates_within >= 6 and calls_between or updates_within >= 3 and inferred:
        return Pace("epoch", seen=bool(calls_between))
    if updates_within >= 6 and schedule.call_site is None and (between or record.ended == "script ended"):
        return Pace("never")
    if updates_within < 6 and (schedule.call_in_batch_loop or record.ended == "looked"):
        return Pace("step", 1.0, seen=False)
    return None


def warm_up_places(schedule):
    """Schedule steps until the rate is (nearly) at its peak, 0 without a warm-up; None where it cannot be told.

    A schedule that still rises at the end of its recorded factors has a warm-up at least as long as they are.
    """
    for name in ("num_warmup_steps", "warmup_steps", "n_warmup_steps"):
        if isinstance(schedule.arguments.get(name), (int, float)):
            return int(schedule.arguments[name])
    factors = schedule.factors
    if len(factors) < 2:
        return None
    peak = max(factors)
    if peak <= 0 or factors[0] >= 0.5 * peak:
        return 0
    return next(place for place, factor in enumerate(factors) if factor >= 0.95 * peak)


def length_in_places(schedule):
    """How many of its own steps a schedule is made for (warm-up and all), or None for one without an end."""
    numbers = {name: value for name, value in schedule.arguments.items() if isinstance(value, (int, float))}
    if numbers.get("epochs") and numbers.get("steps_per_epoch"):
        return int(numbers["epochs"] * numbers["steps_per_epoch"])
    for name in ("num_training_steps", "total_steps", "t_total", "T_max", "total_iters", "max_iters", "max_steps"):
        if numbers.get(name) is not None:
            return int(numbers[name])
    positive = [place for place, factor in enumerate(schedule.factors) if factor > 0]    # an exponential never ends
    if positive and positive[-1] + 1 < len(schedule.factors):
        return positive[-1] + 1
    return None


def factor_at(schedule, place):
    """Rate over base rate at a schedule step; the last known one beyond the recorded factors; None without any."""
    if not schedule.factors:
        return None
    return schedule.factors[min(int(place), len(schedule.factors) - 1)]


def counts_updates(record, schedule):
    """A schedule's own length says that it is made for optimizer steps, not for epochs.

    Its end lies near the planned updates (or those of one epoch) and far beyond the planned epochs; or it has a
    warm-up that the planned epochs do not get through by half.
    """
    epochs, updates, per_epoch = planned_epochs(record), planned_updates(record), updates_per_epoch(record)
    length, warm_up = length_in_places(schedule), warm_up_places(schedule) or 0
    if epochs is None:
        return max(length or 0, 4 * warm_up) >= 200
    if warm_up >= max(2 * epochs, 10) or warm_up >= 2 and length and length >= 10 * epochs:
        return True
    if not length or length < 3 * epochs:
        return False
    near_all = updates is not None and length >= 0.8 * updates
    near_one = per_epoch is not None and abs(length - per_epoch) <= 0.1 * per_epoch
    return near_all or near_one


def stepped_per_epoch_by_mistake(record, schedule):
    """The schedule counts optimizer steps and moves once per epoch."""
    found = pace(record, schedule)
    return found is not None and found.kind == "epoch" and counts_updates(record, schedule)


def places_in_plan(record, schedule):
    """How many of its own steps the schedule makes in the whole plan, as the script steps it, or None."""
    found = pace(record, schedule)
    if found is None or found.kind == "never":
        return None
    if found.kind == "epoch":
        return planned_epochs(record)
    updates = planned_updates(record)
    return found.per_update * updates if updates else None


def planned_factors(record, schedule, points=200):
    """The schedule's factor at evenly spread updates of the plan, as the script steps it; [] where unknown."""
    places = places_in_plan(record, schedule)
    if places is None or not schedule.factors:
        return []
    whole = pace(record, schedule).kind == "epoch"
    spread = [places * point / points for point in range(points)]
    return [factor_at(schedule, math.floor(place) if whole else place) for place in spread]


def rate_budget(record, index):
    """Sum of one group's rate over the planned updates, (sum, updates), or None without a plan.

    An Adam step moves a weight by at most about the rate, so the sum bounds how far any weight of the group can move.
    """
    updates = planned_updates(record)
    if updates is None:
        return None
    group, seen = record.groups[index], rates_seen(record, index)
    if len(record.schedules) == 1:
        factors = planned_factors(record, record.schedules[0])
        if factors:
            base = group.initial_rate or group.rate
            return base * statistics.fmean(factors) * updates, updates
    highest = max(seen, default=group.rate)
    return highest * updates, updates


def intended_peak(record, index):
    """The rate that one group would have at the top of its schedule, reached in this run or not."""
    group = record.groups[index]
    factors = [factor for schedule in record.schedules for factor in schedule.factors]
    return max([(group.initial_rate or group.rate) * max([1.0, *factors]), *rates_seen(record, index)])


def peak_rate(record, index):
    """The highest rate that one group has had or will have in the plan."""
    group = record.groups[index]
    peak = max(rates_seen(record, index), default=group.rate)
    if len(record.schedules) == 1:
        factors = planned_factors(record, record.schedules[0])
        peak = max(peak, (group.initial_rate or group.rate) * max(factors, default=0.0))
    return peak


def own_line(schedule):
    """Where a schedule is made, in words, or ''."""
    return f"made in {place(schedule.made)}" if schedule.made else ""
