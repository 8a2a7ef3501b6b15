"""The learning-rate schedules of a watched script: how they were made, and when they are stepped."""

import sys
from dataclasses import dataclass, field

from diagnosis.observe.guard import quietly
from diagnosis.record import facts, source
from diagnosis.record.record import Schedule


@dataclass
class SeenSchedule:
    scheduler: object
    kind: str                           # class name
    maker: str                          # what the script called
    arguments: dict = field(default_factory=dict)       # its numbers by name
    made: object = None
    copy: object = None                 # as made, for working out its factors
    names: set = field(default_factory=set)
    calls_at: list = field(default_factory=list)        # optimizer steps made before each of the script's step() calls
    call_site: object = None
    in_batch_loop: bool | None = None
    handled: bool = False               # by ignite's LRScheduler, which moves it without its step()
    factors: list = field(default_factory=list)

    def as_made(self, horizon):
        """Rate over base rate at schedule steps 0, 1, 2 ... horizon; worked out once."""
        if not self.factors:
            self.factors = (facts.describe_schedule(self.scheduler, horizon) if self.kind == "LambdaLR"
                            else facts.factors_of_copy(self.copy, horizon))
        return self.factors


class Schedules:

    def __init__(self, guard, record, loaders):
        self.guard, self.record, self.loaders = guard, record, loaders
        self.by_id = {}                 # id of a scheduler: its SeenSchedule
        self.depth = 0                  # of constructors and step() calls within one another

    @quietly
    def made(self, scheduler, frames):
        """frames: those around its constructor, innermost first."""
        if id(scheduler) in self.by_id:
            return
        kind = maker = type(scheduler).__name__
        arguments = {}
        for frame in frames:
            if source.is_users(frame.f_code.co_filename):
                break
            name = frame.f_code.co_name
            constructor = name == "__init__" and frame.f_locals.get("self") is scheduler
            if constructor or ("schedule" in name and name.startswith("get_") and name != "get_scheduler"):
                maker = maker if constructor else name
                arguments |= plain_arguments(frame)
        self.by_id[id(scheduler)] = SeenSchedule(scheduler, kind, maker, arguments, source.site())

    @quietly
    def steps(self, scheduler, handled=False):
        """The script calls step(), or ignite's handler does as much (the call has not run yet)."""
        kind = type(scheduler).__name__
        seen = self.by_id.setdefault(id(scheduler), SeenSchedule(scheduler, kind, kind))
        if seen.copy is None:
            seen.copy = facts.copy_schedule(scheduler)
        seen.handled = seen.handled or handled
        seen.calls_at.append(self.record.optimizer_steps)
        if seen.call_site is None:
            seen.call_site = source.site()
            seen.in_batch_loop = self.loaders.in_training_pass()

    def look_before_first_step(self, namespaces):
        """Find the names that hold the schedules, and copy them before they move."""
        for seen in self.by_id.values():
            seen.names = source.names_of(seen.scheduler, namespaces)
            seen.copy = seen.copy or facts.copy_schedule(seen.scheduler)

    def optimizers(self):
        """What the schedules move: the optimizers, or what a library wraps them in."""
        moved = [getattr(seen.scheduler, "optimizer", None) for seen in self.by_id.values()]
        return [optimizer for optimizer in moved if hasattr(optimizer, "param_groups")]

    def describe(self, horizon, idle_optimizers, script, batch_loop, intervals=None):
        """A Schedule of each that moves an optimizer in use.

        horizon             schedule steps whose rates are worked out
        idle_optimizers     ids of the optimizers that were made and not used
        batch_loop          the source.Loop over the batches, or None
        intervals           {id of a scheduler: 'step' or 'epoch'} of those that a training library steps
        """
        parts = {id(part) for seen in self.by_id.values() for part in getattr(seen.scheduler, "_schedulers", ())}
        described = []
        for seen in self.by_id.values():
            scheduler = seen.scheduler
            if id(scheduler) in parts or id(getattr(scheduler, "optimizer", None)) in idle_optimizers:
                continue
            schedule = Schedule(seen.kind, seen.maker, seen.arguments, seen.made, len(seen.calls_at), seen.calls_at,
                                seen.call_site, bool(seen.calls_at), seen.in_batch_loop,
                                factors=seen.as_made(horizon),
                                base_rates=[float(rate) for rate in getattr(scheduler, "base_lrs", ())])
            schedule.interval = (intervals or {}).get(id(scheduler))
            if seen.handled:
                schedule.interval = "step" if seen.in_batch_loop else "epoch"
            if schedule.interval is not None:       # the library calls it: the script's line is where it was made
                schedule.call_site, schedule.call_in_batch_loop = seen.made, schedule.interval == "step"
            elif not schedule.call_seen or schedule.call_in_batch_loop is None:
                read_call(seen, schedule, script, batch_loop)
            described.append(schedule)
        return described


def read_call(seen, schedule, script, batch_loop):
    """The line of the step() call that was not reached, from the source."""
    names = seen.names or source.names_of(seen.scheduler, [vars(sys.modules["__main__"])])
    calls = source.calls_of(source.users_files(script), names, "step")
    if not calls:
        return
    schedule.call_site = schedule.call_site or source.make_site(*calls[0])
    if batch_loop is not None:
        schedule.call_in_batch_loop = any(source.inside_loop(file, line, batch_loop) for file, line in calls)


def plain_arguments(frame):
    """The arguments of a frame's function that are numbers, texts, truths or short lists of numbers, by name."""
    names = frame.f_code.co_varnames[:frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount]
    values = {name: plain(frame.f_locals.get(name)) for name in names if name not in ("self", "optimizer")}
    return {name: value for name, value in values.items() if value is not None}


def plain(value):
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and len(value) <= 20 and all(isinstance(each, (int, float)) for each in value):
        return list(value)
    return None
