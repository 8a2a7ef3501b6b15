"""Training libraries that run the script's loop (transformers' Trainer, Lightning, ignite): what they say of the plan,
of the schedules and of the validation data, and how a pass over a loader is ended early under them."""

import contextlib
import math
import sys
from dataclasses import dataclass, field

from diagnosis.record import source

RUNNERS = (("transformers", "transformers.trainer", "Trainer"),
           ("lightning", "pytorch_lightning.trainer.trainer", "Trainer"),
           ("lightning", "lightning.pytorch.trainer.trainer", "Trainer"),
           ("ignite", "ignite.engine.engine", "Engine"))


@dataclass
class Runner:
    """The object of a training library that runs the optimizer's steps."""
    library: str                        # 'transformers', 'lightning' or 'ignite'
    owner: object                       # its Trainer or Engine
    plan: dict = field(default_factory=dict)    # what it says of the plan at the first step: fields of record.Plan


def runner_on_stack(frame, library=None):
    """The innermost Runner among a frame and its callers (of that library alone, where one is named); else None."""
    kinds = [(name, kind) for name, module, attribute in RUNNERS if library in (None, name)
             and (kind := getattr(sys.modules.get(module), attribute, None)) is not None]
    while frame is not None and kinds:
        owner = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames else None
        found = next((name for name, kind in kinds if isinstance(owner, kind)), None)
        if found is not None:
            return Runner(found, owner, planned(found, owner))
        frame = frame.f_back
    return None


# ---- the plan


def planned(library, owner):
    """The fields of record.Plan that a library knows by itself; {} where it cannot say."""
    try:
        return {"transformers": plan_of_trainer, "lightning": plan_of_lightning, "ignite": plan_of_ignite}[library](owner)
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        return {}                       # another release of the library


def plan_of_trainer(trainer):
    state, args = trainer.state, trainer.args
    return {"steps": int(state.max_steps), "epochs": math.ceil(float(state.num_train_epochs or args.num_train_epochs)),
            "how": "the Trainer's own plan"}


def plan_of_lightning(trainer):
    batches, per_step = whole(trainer.num_training_batches), int(trainer.accumulate_grad_batches or 1)
    epochs, most = whole(trainer.max_epochs), whole(trainer.max_steps)
    if not getattr(trainer.lightning_module, "automatic_optimization", True):     # the module steps when it likes
        return {"batches_per_epoch": batches, "epochs": epochs, "how": "the Lightning Trainer's own plan"}
    per_epoch = math.ceil(batches / per_step) if batches else None
    steps = epochs * per_epoch if epochs and per_epoch else None
    if most and (steps is None or most < steps):
        steps, epochs = most, math.ceil(most / per_epoch) if per_epoch else epochs
    return {"batches_per_epoch": batches, "batches_per_step": float(per_step), "epochs": epochs, "steps": steps,
            "how": "the Lightning Trainer's own plan"}


def plan_of_ignite(engine):
    state = engine.state
    length, iterations = whole(state.epoch_length), whole(getattr(state, "max_iters", None))
    epochs = whole(state.max_epochs) or (math.ceil(iterations / length) if iterations and length else None)
    return {"batches_per_epoch": length, "epochs": epochs, "how": "max_epochs and epoch_length of ignite's engine"}


def whole(number):
    """A count that libraries give as a number, -1 or infinity (for no limit), or None."""
    return int(number) if number is not None and math.isfinite(number) and number > 0 else None


# ---- schedules and validation


def intervals(runner):
    """{id of a scheduler: 'step' or 'epoch'}: when the library steps those that it was handed."""
    if runner is None or runner.library != "lightning":
        return {}
    return {id(config.scheduler): config.interval for config in getattr(runner.owner, "lr_scheduler_configs", ())}


def validation_loaders(runner):
    """The loaders that the library validates with, as far as they are there already."""
    if runner is None or runner.library != "lightning":
        return []
    held = getattr(runner.owner, "val_dataloaders", None)
    held = list(held.values()) if isinstance(held, dict) else held if isinstance(held, (list, tuple)) else [held]
    return [loader for loader in held if source.is_loader(loader)]


# ---- ending early


def end_epoch(runner):
    """Make the batch that is being trained on the epoch's last; True where the library does what follows an epoch by
    itself then, so that the pass over the loader need not be cut."""
    if runner is None or runner.library != "lightning":
        return False
    with contextlib.suppress(AttributeError):
        trainer = runner.owner
        seen = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        whole_epoch = trainer.val_check_batch is not None and trainer.val_check_batch >= trainer.fit_loop.max_batches
        trainer.fit_loop.max_batches = seen
        if whole_epoch and trainer.val_check_batch != math.inf:
            trainer.val_check_batch = seen
        return True
    return False


def pass_is_cut(frame):
    """ignite begins a loader anew until its epoch has the length that it knows: it must not know one."""
    runner = runner_on_stack(frame, "ignite")
    if runner is not None:
        runner.owner.state.epoch_length = None
