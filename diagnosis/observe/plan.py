"""How long the script means to train: a training library's own word, else the loops around the first optimizer step."""

import math

from diagnosis.observe.libraries import runner_on_stack
from diagnosis.record import source
from diagnosis.record.record import Plan


class Surroundings:
    """What runs the first optimizer step."""

    def __init__(self):
        self.loops = []                 # the source.Loop around it, outermost first
        self.runner = None              # the libraries.Runner, if a training library runs it

    def look(self, frame):
        """frame: of a call below the optimizer step; its callers are looked through."""
        self.loops = [loop for users in reversed(source.user_frames(frame)) for loop in source.loops_around(users)]
        self.runner = runner_on_stack(frame)

    @property
    def trainer(self):
        """The Trainer of transformers, where one runs the steps; else None."""
        return self.runner.owner if self.runner is not None and self.runner.library == "transformers" else None

    def batch_loop(self):
        place = place_of_batch_loop(self.loops)
        return self.loops[place] if place is not None else (self.loops[-1] if self.loops else None)


def fill_plan(observer):
    plan, record, training = observer.record.plan, observer.record, observer.loaders.training()
    if record.steps:
        backwards = sum(step.backwards for step in record.steps) / len(record.steps)
        plan.batches_per_step = 1.0 if observer.steps.closures else backwards
    plan.batches_per_epoch = source.length(training.loader) if training is not None else None
    runner = observer.surroundings.runner
    if runner is not None and runner.plan:
        plan_from_library(plan, runner.plan)
    elif loops := epoch_loops(observer):
        plan_from_loops(plan, loops, training)
        drop_if_exceeded(record)


def drop_if_exceeded(record):
    """Loops that mean fewer steps than were seen are not those of the training."""
    plan = record.plan
    if plan.steps is not None and (plan.batches_per_step or 1.0) >= 1.0 and len(record.steps) > plan.steps:
        record.plan = Plan(batches_per_step=plan.batches_per_step)


def plan_from_library(plan, known):
    """known: fields of the Plan that the library knows by itself."""
    for name, value in known.items():
        setattr(plan, name, value if value is not None else getattr(plan, name))
    if plan.steps is None and plan.epochs and plan.batches_per_epoch:
        plan.steps = plan.epochs * math.ceil(plan.batches_per_epoch / max(1, plan.batches_per_step or 1))


def plan_from_loops(plan, loops, training):
    """training: the training loader, or None."""
    place = place_of_batch_loop(loops)
    if place is None and training is not None:      # next(iterator) in a loop of steps
        batches = product(loops)
        if batches is not None and plan.batches_per_epoch:
            plan.epochs = math.ceil(batches / plan.batches_per_epoch)
            plan.steps = round(batches / max(1, plan.batches_per_step or 1))
            plan.how = "loops of steps over a loader's iterator"
        return
    if place is None or training is None:
        place = len(loops) - 1
        plan.batches_per_epoch = loops[place].count
        plan.how = "the script's loops, the innermost one taken for the batches"
    else:
        plan.batches_per_epoch = loops[place].count or plan.batches_per_epoch
        plan.how = "the script's loops around the one over the loader"
    plan.epochs = product(loops[:place])
    if plan.epochs is not None and plan.batches_per_epoch and plan.batches_per_step:
        plan.steps = plan.epochs * math.ceil(plan.batches_per_epoch / max(1, plan.batches_per_step))


def place_of_batch_loop(loops):
    """Index of the loop over a loader: one known as such, else the innermost where nobody knows what it goes over."""
    known = [index for index, loop in enumerate(loops) if loop.kind == "loader"]
    if known:
        return known[-1]
    return len(loops) - 1 if loops and loops[-1].kind == "unknown" else None


def epoch_loops(observer):
    """The loops around the first step, without those (folds, seeds) that also made the optimizer."""
    optimizer = next(iter(observer.optimizers.stepped.values()), None)
    outer = set(observer.optimizers.making_of(optimizer).loops)
    return [loop for loop in observer.surroundings.loops if (loop.file, loop.line) not in outer]


def product(loops):
    counts = [loop.count for loop in loops]
    return math.prod(counts) if None not in counts else None


def planned_rates(observer, optimizer, most):
    """Rates of an optimizer's groups at the first steps of the plan: as seen, then as its schedule goes on.

    most    steps at most
    """
    groups = len(optimizer.param_groups) if optimizer is not None else 0
    key = observer.optimizers.making_of(optimizer).key
    rows = [[rates.get((key, index), math.nan) for index in range(groups)]
            for rates in observer.steps.rates][:most]
    if not rows:
        return []
    if observer.stopping.forward is not None:
        rows = rows[:observer.stopping.forward.step]
    schedule = next((each for each in observer.record.schedules if each.factors and len(each.base_rates) == groups),
                    None)
    plan = observer.record.plan
    per_epoch = (plan.batches_per_epoch or 0) / max(1, plan.batches_per_step or 1)
    while len(rows) < most and len(rows) < (plan.steps or most):
        if schedule is None:
            rows.append(list(rows[-1]))
            continue
        calls = len(rows) if schedule.call_in_batch_loop else (int(len(rows) / per_epoch) if per_epoch else 0)
        factor = schedule.factors[min(calls, len(schedule.factors) - 1)]
        rows.append([base * factor for base in schedule.base_rates])
    return rows
