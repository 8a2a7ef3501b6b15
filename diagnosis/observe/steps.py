"""The optimizer steps of a watched script: gradients, clipping, scaling, what a step did, and the schedules."""

import time

import torch

from diagnosis.record import facts, graph, source
from diagnosis.record.record import Clip, Step
from diagnosis.observe.seen import SeenSchedule, quietly

CLOSE_STEPS = 3         # the first steps are measured closely, then every CLOSE_EVERY-th
CLOSE_EVERY = 8
WEIGHT_SAMPLE = 50_000  # weights of each tensor in which unchanged ones are counted


class Steps:
    """The part of the Observer that looks at gradients, optimizers and schedules."""

    # gradients and steps

    def new_draft(self):
        self.draft = {"backwards": 0, "before": 0.0, "loss": None, "factor": 1.0, "having": set(), "after": None,
                      "cleared": False, "clip": None}

    def is_close(self):
        """Is this step one of those measured closely?"""
        number = len(self.record.steps)
        return number < CLOSE_STEPS or number % CLOSE_EVERY == 0

    def all_parameters(self):
        """Every parameter of the models seen and of the optimizers, once."""
        key = (len(self.roots), len(self.optimizers), sum(len(one.param_groups) for one in self.optimizers.values()))
        if getattr(self, "_parameters_key", None) != key:
            found = {id(one): one for root in self.roots.values() for one in root.parameters()}
            for optimizer in self.optimizers.values():
                found |= {id(one): one for group in optimizer.param_groups for one in group["params"]}
            self._parameters_key, self._parameters = key, list(found.values())
        return self._parameters

    @quietly
    def zero_grad_called(self):
        self.record.zero_grads += 1
        if self.record.zero_site is None:
            self.record.zero_site = source.site()
        if self.draft["backwards"] and self.draft["having"]:
            self.draft["cleared"] = True

    @quietly
    def clipped(self, kind, limit, norm, where):
        if kind == "value":
            norm = None
        norm = None if norm is None else float(norm)
        self.draft["clip"] = Clip(kind, float(limit), norm, self.scaled_gradients, where)

    @quietly
    def scaled(self, scaler, result):
        if scaler.is_enabled():
            self.record.scaler_used = True
            self.pending_scale, self.last_scaled = float(scaler.get_scale()), result

    @quietly
    def unscaled(self):
        self.scaled_gradients = False

    @quietly
    def scaler_step_begins(self, scaler):
        if scaler.is_enabled():
            self.scaler_step = {"scale": float(scaler.get_scale()), "stepped": False, "site": source.site()}

    @quietly
    def scaler_step_ends(self, optimizer):
        begun, self.scaler_step = self.scaler_step, None
        if begun is not None and not begun["stepped"]:
            self.first_step(optimizer)
            step = self.make_step(begun["site"])
            step.skipped, step.scale = True, begun["scale"]
            self.step_done(step)

    @quietly
    def optimizer_made(self, optimizer):
        self.optimizers[id(optimizer)] = optimizer
        loops = tuple((one.file, one.line) for frame in source.user_frames() for one in source.loops_around(frame))
        rates = [float(group.get("lr", float("nan"))) for group in optimizer.param_groups]
        self.made[id(optimizer)] = (source.site(), rates, loops)

    @quietly
    def step_begins(self, optimizer, closure):
        self.optimizers.setdefault(id(optimizer), optimizer)
        self.stepped.setdefault(id(optimizer), optimizer)
        self.in_closure = closure
        self.closures = self.closures or closure
        self.first_step(optimizer)
        self.step_site_now = source.site()
        self.gradients = None if closure else self.measure_gradients()
        self.before_step = self.copy_weights(optimizer) if self.is_close() else None
        if self.scaler_step is not None:
            self.scaler_step["stepped"] = True

    def first_step(self, optimizer):
        if self.described is not None:
            return
        from diagnosis.record import assemble
        self.described = assemble.describe_before_training(self)
        self.look_at_frames()

    def measure_gradients(self):
        """{id of a parameter: its gradient's norm}, of all parameters that have one."""
        with torch.no_grad():
            having = [one for one in self.all_parameters() if one.grad is not None]
            return dict(zip(map(id, having), graph.norms([one.grad for one in having])))

    def copy_weights(self, optimizer):
        with torch.no_grad():
            held = [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
            return held, [one.detach().clone() for one in held]

    @quietly
    def step_ends(self, optimizer):
        record = self.record
        gradients = self.measure_gradients() if self.gradients is None else self.gradients
        held = [id(one) for group in optimizer.param_groups for one in group["params"]]
        mine = [gradients[key] for key in held if key in gradients]
        joins = (record.steps and not self.draft["backwards"] and not self.in_closure and not record.steps[-1].skipped
                 and id(optimizer) not in self.joined)
        if joins:       # a second optimizer that steps on the same backward
            step = record.steps[-1]
            step.gradient_norm = graph.combine(step.gradient_norm, graph.total(mine) if mine else None)
            self.measure_update(step)
            self.joined.add(id(optimizer))
            return
        step = self.make_step(self.step_site_now)
        step.gradient_norm = graph.total(mine) if mine else None
        draft = self.draft
        if not draft["having"].isdisjoint(held) and not step.gradient_norm:
            step.cleared = draft["cleared"] or not mine or bool(draft["after"])
        if self.scaler_step is not None:
            step.scale = self.scaler_step["scale"]
        found = getattr(optimizer, "found_inf", None)
        if isinstance(found, torch.Tensor) and float(found):
            step.skipped = True
        self.measure_update(step)
        self.gradient_rows.append(gradients)
        self.joined = {id(optimizer)}
        self.step_done(step)

    def measure_update(self, step):
        """What the step did to the weights, where they were copied before it."""
        if self.before_step is None:
            return
        held, before = self.before_step
        self.before_step = None
        if not held:
            return
        with torch.no_grad():
            now = [one.detach() for one in held]
            changes = [after.float() - old.float() for after, old in zip(now, before)]
            step.update_norm = graph.combine(step.update_norm, graph.total(graph.norms(changes)))
            step.weight_norm = graph.combine(step.weight_norm, graph.total(graph.norms(now)))
            same = touched = 0
            for one, change in zip(held, changes):
                gradient, change = one.grad, change.reshape(-1)
                if gradient is None or gradient.is_sparse:
                    continue
                stride = max(1, change.numel() // WEIGHT_SAMPLE)
                moved_by = gradient.detach().reshape(-1)[::stride] != 0
                touched += int(moved_by.sum())
                same += int((moved_by & (change[::stride] == 0)).sum())
            if touched:
                step.unchanged_share = same / touched

    def make_step(self, where):
        record, draft, now = self.record, self.draft, time.monotonic()
        step = Step(len(record.steps), backwards=draft["backwards"], gradient_before=draft["before"],
                    zeroed=draft["before"] == 0.0, clip=draft["clip"], site=where)
        if draft["loss"] is not None:
            step.loss = float(draft["loss"]) / draft["factor"]
        training = self.training_loader()
        step.epoch = max(0, training.trained - 1) if training is not None else 0
        step.seconds = now - self.last_step_at if self.last_step_at is not None else None
        return step

    def step_done(self, step):
        record = self.record
        self.rates.append({(key, index): float(group.get("lr", float("nan")))
                           for key, one in self.optimizers.items() for index, group in enumerate(one.param_groups)})
        if len(self.gradient_rows) < len(self.rates):
            self.gradient_rows.append({})       # a step that the scaler skipped
        record.steps.append(step)
        record.optimizer_steps += not step.skipped
        record.step_site = record.step_site or step.site
        self.scaled_gradients = False
        self.new_draft()
        self.last_step_at = time.monotonic()
        if self.step_began is None:
            self.step_began = self.last_step_at
        self.after_step()

    # schedules

    @quietly
    def schedule_made(self, scheduler, frames):
        if id(scheduler) in self.schedules:
            return
        kind, maker, arguments = type(scheduler).__name__, type(scheduler).__name__, {}
        for frame in frames:
            if source.is_users(frame.f_code.co_filename):
                break
            name = frame.f_code.co_name
            made_here = name == "__init__" and frame.f_locals.get("self") is scheduler
            if made_here or ("schedule" in name and name.startswith("get_") and name != "get_scheduler"):
                maker = maker if made_here else name
                names = frame.f_code.co_varnames[:frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount]
                arguments |= {one: plain(frame.f_locals.get(one)) for one in names
                              if one not in ("self", "optimizer") and plain(frame.f_locals.get(one)) is not None}
        self.schedules[id(scheduler)] = SeenSchedule(scheduler, kind, maker, arguments, source.site())

    @quietly
    def schedule_steps(self, scheduler):
        """The script calls step() (the call has not run yet)."""
        seen = self.schedules.get(id(scheduler))
        if seen is None:
            kind = type(scheduler).__name__
            seen = self.schedules[id(scheduler)] = SeenSchedule(scheduler, kind, kind, {})
        if seen.copy is None:
            seen.copy = facts.copy_schedule(scheduler)
        seen.calls_at.append(self.record.optimizer_steps)
        if seen.call_site is None:
            seen.call_site = source.site()
            if self.iteration is not None:
                seen.in_batch_loop = self.iteration.active and self.iteration.trained


def plain(value):
    """A number, text, truth or short list of them as it is; None for anything else."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and len(value) <= 20 and all(isinstance(one, (int, float)) for one in value):
        return list(value)
    return None
