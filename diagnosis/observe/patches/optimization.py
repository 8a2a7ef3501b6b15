"""Optimizers, clipping, gradient scalers and schedules."""

import functools
import inspect
import sys
from types import SimpleNamespace

import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from diagnosis.observe.late import when_imported
from diagnosis.record import source

FRAMES = 12     # around a schedule's constructor that are looked at


def watch_optimizers(observer):
    made = torch.optim.Optimizer.__init__

    @functools.wraps(made)
    def init(optimizer, *args, **kwargs):
        made(optimizer, *args, **kwargs)
        observer.optimizers.made(optimizer)

    torch.optim.Optimizer.__init__ = init

    def begins(optimizer, args, kwargs):
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        observer.step_begins(optimizer, closure is not None)

    def ends(optimizer, args, kwargs):
        observer.step_ends(optimizer)

    register_optimizer_step_pre_hook(begins)
    register_optimizer_step_post_hook(ends)
    for kind in (torch.optim.Optimizer, nn.Module):
        kind.zero_grad = before(kind.zero_grad, lambda *args: observer.gradients.zero_grad_called())


def before(original, look):
    """The same function that first shows its arguments to look."""
    @functools.wraps(original)
    def watched(*args, **kwargs):
        look(*args)
        return original(*args, **kwargs)
    return watched


def watch_clipping(observer):
    for name, kind, limit_name in (("clip_grad_norm_", "norm", "max_norm"),
                                   ("clip_grad_value_", "value", "clip_value")):
        original = getattr(nn.utils, name)
        watched = watched_clip(observer, original, kind, limit_name)
        setattr(nn.utils, name, watched)
        setattr(nn.utils.clip_grad, name, watched)


def watched_clip(observer, original, kind, limit_name):
    @functools.wraps(original)
    def watched(parameters, *args, **kwargs):
        norm = original(parameters, *args, **kwargs)
        limit = args[0] if args else kwargs.get(limit_name)
        observer.gradients.clipped(kind, limit, norm, source.site())
        return norm
    return watched


def watch_scaler(observer):
    kind = torch.amp.GradScaler
    scale, unscale, step = kind.scale, kind.unscale_, kind.step

    @functools.wraps(scale)
    def scaled(scaler, outputs):
        result = scale(scaler, outputs)
        observer.scaling.scaled(scaler, result)
        return result

    @functools.wraps(unscale)
    def unscaled(scaler, optimizer):
        observer.scaling.unscaled()
        return unscale(scaler, optimizer)

    @functools.wraps(step)
    def stepped(scaler, optimizer, *args, **kwargs):
        observer.scaling.step_begins(scaler)
        result = step(scaler, optimizer, *args, **kwargs)
        observer.scaler_step_ends()
        return result

    kind.scale, kind.unscale_, kind.step = scaled, unscaled, stepped


def watch_schedules(observer):
    for kind in list(vars(lr_scheduler).values()):
        if not (isinstance(kind, type) and issubclass(kind, lr_scheduler.LRScheduler)):
            continue
        if "__init__" in vars(kind):
            kind.__init__ = watched_making(observer, kind.__init__, kind is lr_scheduler.LRScheduler)
        if "step" in vars(kind):
            kind.step = watched_schedule_step(observer, kind.step)
    when_imported("ignite.handlers.param_scheduler", functools.partial(watch_ignites_handler, observer))


def watch_ignites_handler(observer, module):
    """It sets the rates that a schedule of torch's would give and moves that on by itself."""
    original = module.LRScheduler.__call__

    @functools.wraps(original)
    def watched(handler, engine, *args, **kwargs):
        if engine is not None:          # None: it only looks what the rates will be
            observer.schedules.steps(handler.lr_scheduler, handled=True)
        return original(handler, engine, *args, **kwargs)

    module.LRScheduler.__call__ = watched


def watched_making(observer, original, is_base):
    """Steps taken while a schedule is made are not the script's; the base class is where subclasses show up."""
    schedules = observer.schedules

    @functools.wraps(original)
    def watched(scheduler, *args, **kwargs):
        outermost = schedules.depth == 0 and not observer.guard.quiet
        schedules.depth += 1
        try:
            original(scheduler, *args, **kwargs)
        finally:
            schedules.depth -= 1
        if is_base or outermost:
            frames, frame = [], sys._getframe(1)
            while frame is not None and len(frames) < FRAMES:
                frames.append(frame)
                frame = frame.f_back
            if not is_base:     # within the base class the constructor of the subclass is still among the frames
                frames.insert(0, stand_in_frame(original, scheduler, args, kwargs))
            schedules.made(scheduler, frames)
    return watched


def stand_in_frame(original, scheduler, args, kwargs):
    """What is read in the frame of a constructor, of one that has already returned."""
    try:
        bound = inspect.signature(original).bind(scheduler, *args, **kwargs)
        bound.apply_defaults()
        names = dict(bound.arguments)
    except TypeError:
        names = {}
    code = SimpleNamespace(co_filename="<made>", co_name="__init__", co_varnames=tuple(names),
                           co_argcount=len(names), co_kwonlyargcount=0)
    return SimpleNamespace(f_code=code, f_locals=names | {"self": scheduler})


def watched_schedule_step(observer, original):
    schedules = observer.schedules

    @functools.wraps(original)
    def watched(scheduler, *args, **kwargs):
        if schedules.depth == 0 and not getattr(scheduler, "_is_initial", False):
            schedules.steps(scheduler)
        schedules.depth += 1
        try:
            return original(scheduler, *args, **kwargs)
        finally:
            schedules.depth -= 1
    return watched
