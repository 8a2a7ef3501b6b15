"""The optimizers of a watched script and their steps: rates, gradients, and what a step did to the weights."""

import sys
import time
from dataclasses import dataclass, field

import torch

from diagnosis.observe.guard import quietly
from diagnosis.observe.limits import is_close
from diagnosis.record import facts, graph, source
from diagnosis.record.record import Remaking, Step

WEIGHT_SAMPLE = 50_000  # weights of each tensor in which unchanged ones are counted


@dataclass
class Making:
    """Where and how an optimizer was made."""
    site: object = None
    rates: tuple = ()                   # learning rate of each group
    loops: tuple = ()                   # (file, line) of the loops around that line and not around the training
    place: tuple = ()                   # lines on the stack
    key: int = 0                        # the same for all that take each other's place
    at: list = field(default_factory=list)      # optimizer steps made (of any optimizer) before each making
    late: bool = False                  # some other optimizer had made a step before


def made_at(optimizer):
    """The Site of the script's call that makes an optimizer, not a line within a class of the script's own."""
    frames = source.user_frames()
    calling = next((frame for frame in frames if frame.f_locals.get("self") is not optimizer), None)
    return source.site(calling) if calling is not None else source.site()


class Optimizers:

    def __init__(self, guard):
        self.guard = guard
        self.by_id, self.stepped = {}, {}       # all, and those that stepped
        self.makings = {}               # id of an optimizer: its Making
        self.steps = 0

    @quietly
    def made(self, optimizer):
        """One made anew by the same calls for the same parameters (every epoch) takes the place of the one before,
        whose moments then need not be kept."""
        place = source.place(sys._getframe())
        loops = tuple((loop.file, loop.line) for frame in source.user_frames() for loop in source.loops_around(frame))
        making = Making(made_at(optimizer), tuple(map(rate_of, optimizer.param_groups)), loops, place,
                        self.free_key(optimizer), late=bool(self.stepped))
        before = next((each for key, each in self.by_id.items() if key in self.makings
                       and self.makings[key].place == place and held_by(each) == held_by(optimizer)), None)
        if before is not None:
            earlier = self.makings.pop(id(before))
            making.key, making.at = earlier.key, earlier.at
            if making.at[-1] < self.steps:
                making.loops = ()       # a loop that trains on with it is no loop around the training
            del self.by_id[id(before)]
            if self.stepped.pop(id(before), None) is not None:
                self.stepped[id(optimizer)] = optimizer
        making.at.append(self.steps)
        self.by_id[id(optimizer)], self.makings[id(optimizer)] = optimizer, making

    def free_key(self, optimizer):
        """Its id; another number where one that is gone had that id, and those in its place still bear it."""
        taken, key = {making.key for making in self.makings.values()}, id(optimizer)
        while key in taken:
            key += 1
        return key

    def step_begins(self, optimizer):
        self.steps += 1
        self.by_id.setdefault(id(optimizer), optimizer)
        self.stepped.setdefault(id(optimizer), optimizer)

    def used(self):
        return list(self.stepped.values()) or list(self.by_id.values())

    def hold_any_of(self, other):
        """Do the optimizers in use hold a parameter of this one (which may be the same, or wrap it)?"""
        mine = {id(each) for optimizer in self.used() for group in optimizer.param_groups for each in group["params"]}
        return any(id(each) in mine for group in other.param_groups for each in group["params"])

    def making_of(self, optimizer):
        return self.makings.get(id(optimizer), Making(key=id(optimizer)))

    def all_made_late(self, parameters):
        """Are these parameters held by optimizers alone that were made after others had stepped, and have not stepped?"""
        mine = {id(each) for each in parameters}
        holders = [optimizer for optimizer in self.by_id.values()
                   if any(id(each) in mine for group in optimizer.param_groups for each in group["params"])]
        return bool(holders) and all(self.making_of(optimizer).late and id(optimizer) not in self.stepped
                                     for optimizer in holders)

    def rates(self):
        """{(key of an optimizer's Making, index of a group): learning rate}"""
        return {(self.making_of(optimizer).key, index): rate_of(group) for optimizer in self.by_id.values()
                for index, group in enumerate(optimizer.param_groups)}

    def remakings(self):
        """A Remaking of each that was made anew while it was in use."""
        found = []
        for making in self.makings.values():
            at = [steps for before, steps in zip(making.at, making.at[1:]) if steps > before]
            if at:
                found.append(Remaking("optimizer", "made", making.site, at))
        return found

    def are_stepped_in(self, script):
        """Does the script's source call step() on something that holds an optimizer or a gradient scaler?"""
        spaces = [vars(sys.modules["__main__"])] + [frame.f_locals for frame in source.user_frames()]
        names = set().union({"scaler"}, *(source.names_of(optimizer, spaces) for optimizer in self.by_id.values()))
        return bool(source.calls_of(source.users_files(script), names, "step"))


class Steps:
    """The optimizer step going on, and figures of those made that the record's steps do not hold."""

    def __init__(self, record, gradients, scaling, optimizers, loaders):
        self.record, self.gradients, self.scaling = record, gradients, scaling
        self.optimizers, self.loaders = optimizers, loaders
        self.now = None                 # the StepGoingOn, or the one that ended last
        self.joined = set()             # ids of the optimizers that stepped on the latest backward
        self.closures = False           # an optimizer was ever given a closure, which runs backward within the step
        self.rates, self.gradient_norms = [], []        # of each of the record's steps: Optimizers.rates(), and
                                                        # {id of a parameter: its gradient's norm}
        self.last_at = None             # time.monotonic() at the end of the latest

    @property
    def in_closure(self):
        """A step is going on that was given a closure, and with it backward."""
        return self.now is not None and self.now.closure and not self.now.ended

    def begins(self, optimizer, closure):
        """closure: the optimizer was given one."""
        self.closures = self.closures or closure
        self.now = StepGoingOn(source.site(), closure, None if closure else self.gradients.measure())
        if is_close(self.record) or facts.has_own_code(optimizer):      # there the rate tells nothing
            self.now.copy_weights(optimizer)
        if self.scaling.step is not None:
            self.scaling.step.stepped = True

    def ends(self, optimizer):
        """Write the step down; False where it belongs to the one before: two optimizers on one backward."""
        record, draft, now = self.record, self.gradients.draft, self.now
        now.ended = True
        norms = self.gradients.measure() if now.gradient_norms is None else now.gradient_norms
        held = [id(each) for group in optimizer.param_groups for each in group["params"]]
        mine = [norms[key] for key in held if key in norms]
        if (record.steps and not draft.backwards and not now.closure and not record.steps[-1].skipped
                and id(optimizer) not in self.joined):
            step = record.steps[-1]
            step.gradient_norm = graph.combine(step.gradient_norm, graph.total(mine) if mine else None)
            now.measure_update(step)
            self.joined.add(id(optimizer))
            return False
        step = self.new_step(now.site)
        step.gradient_norm = graph.total(mine) if mine else None
        if not record.scaler_used and not now.closure:
            step.norm_of_backward = draft.norm_after
        if not draft.having.isdisjoint(held) and not step.gradient_norm:
            step.cleared = draft.cleared or not mine or bool(draft.norm_after)
        if self.scaling.step is not None:
            step.scale = self.scaling.step.scale
        found = getattr(optimizer, "found_inf", None)
        step.skipped = isinstance(found, torch.Tensor) and bool(found)
        now.measure_update(step)
        self.joined = {id(optimizer)}
        self.keep(step, norms)
        return True

    def skipped(self, scaler_step):
        """The scaler ended a ScalerStep without a step of the optimizer."""
        step = self.new_step(scaler_step.site)
        step.skipped, step.scale = True, scaler_step.scale
        self.keep(step, {})

    def made_by_hand(self, now, measured):
        """The script changed the weights itself; measured: all of them were copied before, and not a few."""
        step = self.new_step(now.site)
        step.by_hand, step.gradient_norm = True, graph.total(now.gradient_norms.values())
        if measured:
            now.measure_update(step)
        self.keep(step, now.gradient_norms)

    def new_step(self, where):
        record, draft = self.record, self.gradients.draft
        step = Step(len(record.steps), backwards=draft.backwards, gradient_before=draft.norm_before,
                    zeroed=draft.norm_before == 0.0, clip=draft.clip, site=where, epoch=self.loaders.epoch())
        if draft.loss is not None:
            step.loss = float(draft.loss) / draft.factor
        step.seconds = time.monotonic() - self.last_at if self.last_at is not None else None
        return step

    def keep(self, step, norms):
        record = self.record
        self.rates.append(self.optimizers.rates())
        self.gradient_norms.append(norms)
        record.steps.append(step)
        record.optimizer_steps += not step.skipped
        record.step_site = record.step_site or step.site
        self.scaling.on_gradients = False
        self.gradients.begin_anew()
        self.last_at = time.monotonic()


@dataclass
class StepGoingOn:
    site: object
    closure: bool                       # backward runs within the step: gradients are measured after it
    gradient_norms: dict | None         # {id of a parameter: its gradient's norm} before it
    weights: tuple = ()                 # (parameters with a gradient, their values before it), where it is measured
    ended: bool = False
    gradients: list | None = None       # of these parameters, where they may be gone when the update is measured

    def copy_weights(self, optimizer):
        """Of those with a gradient; a closure may yet give one to any that is trainable."""
        with torch.no_grad():
            held = [each for group in optimizer.param_groups for each in group["params"]
                    if each.grad is not None or self.closure and each.requires_grad]
            self.weights = held, [each.detach().clone() for each in held]

    def measure_update(self, step):
        """What the step did to the weights, where they were copied before it."""
        if not self.weights:
            return
        gradients = self.gradients or [each.grad for each in self.weights[0]]
        known = [one for one in zip(*self.weights, gradients) if one[2] is not None]
        self.weights = ()
        if not known:
            return
        held, before, gradients = zip(*known)
        with torch.no_grad():
            now = [each.detach() for each in held]
            changes = [after.float() - old.float() for after, old in zip(now, before)]
            step.update_norm = graph.combine(step.update_norm, graph.total(graph.norms(changes)))
            step.weight_norm = graph.combine(step.weight_norm, graph.total(graph.norms(now)))
            share, along = unchanged_share(gradients, changes), graph.cosine(gradients, changes)
            step.along_gradient = along if step.along_gradient is None else step.along_gradient
            step.unchanged_share = step.unchanged_share if share is None else share


def unchanged_share(gradients, changes):
    """Of a sample of the weights with a gradient other than 0, the share that did not change; None without any."""
    same = touched = 0
    for gradient, change in zip(gradients, changes):
        if gradient is None or gradient.is_sparse:
            continue
        stride = max(1, change.numel() // WEIGHT_SAMPLE)
        meant = gradient.detach().reshape(-1)[::stride] != 0
        touched += int(meant.sum())
        same += int((meant & (change.reshape(-1)[::stride] == 0)).sum())
    return same / touched if touched else None


def held_by(optimizer):
    return [id(each) for group in optimizer.param_groups for each in group["params"]]


def rate_of(group):
    return float(group.get("lr", float("nan")))
