"""Watches a script train: holds those who keep what was seen, and decides when to stop.

The patches call one of them, or the Observer where an event concerns several. Facts only: nothing here knows a fault.
"""

import os
import sys
import time
import traceback

import torch

from diagnosis.observe import assemble, before_training, libraries, pooling
from diagnosis.observe.by_hand import StepsByHand
from diagnosis.observe.checkpoints import Checkpoints
from diagnosis.observe.evaluation import Evaluation
from diagnosis.observe.files import Files
from diagnosis.observe.freezes import Freezes
from diagnosis.observe.gradients import Gradients
from diagnosis.observe.guard import Guard, quietly
from diagnosis.observe.limits import KEPT_BATCHES, WRITE_EVERY, is_close
from diagnosis.observe.loaders import Loaders
from diagnosis.observe.losses import Losses
from diagnosis.observe.models import Layers, Models, Parameters
from diagnosis.observe.passes import Passes
from diagnosis.observe.plan import Surroundings
from diagnosis.observe.remakings import Remakings
from diagnosis.observe.scaling import Scaling
from diagnosis.observe.schedules import Schedules
from diagnosis.observe.steps import Optimizers, Steps
from diagnosis.observe.stopping import Stopping, stand_still
from diagnosis.observe.tokenizers import TokenizerCalls
from diagnosis.record import source
from diagnosis.record.record import Crash


class Observer:
    """All that is seen of the running script.

    record      the Record to fill
    script      the script's path
    old_files   OldFiles, installed before
    keep        keep(Pass, tensor that backward runs on): the batch in a form that can be run again later, or None
    write       write(record): the record as far as it goes, now and then
    conclude    conclude(observer): what is to be done at the stop; the process ends after it
    """

    def __init__(self, record, script, old_files, keep, write, conclude):
        self.record, self.script = record, script
        self.keep, self.write, self.conclude = keep, write, conclude
        self.began = self.written_at = time.monotonic()
        guard = self.guard = Guard(record.observer_errors)
        self.files = Files(guard, old_files, script, self.finish)
        self.files.stop_what_gets_past()
        self.stopping = Stopping(record, self.files, self.finish)
        self.loaders = Loaders(guard, self.stopping)
        self.tokenizers, self.checkpoints, self.freezes = TokenizerCalls(guard), Checkpoints(guard), Freezes(guard)
        self.models, self.layers, self.optimizers = Models(), Layers(guard), Optimizers(guard)
        parameters = Parameters(self.models, self.optimizers)
        self.evaluation = Evaluation(guard, record)
        self.passes = Passes(guard, record, self.models, self.layers, self.loaders, self.tokenizers, self.evaluation)
        self.losses = Losses(guard, record, self.passes, parameters)
        self.scaling = Scaling(guard, record)
        self.gradients = Gradients(guard, record, parameters, self.scaling)
        self.steps = Steps(record, self.gradients, self.scaling, self.optimizers, self.loaders)
        self.by_hand = StepsByHand(record, self.gradients, self.steps, parameters)
        self.passes.before_each = self.look_for_a_step_by_hand
        self.remakings = Remakings(self.checkpoints, self.optimizers)
        self.schedules = Schedules(guard, record, self.loaders)
        self.stopping.when_over = self.training_is_over
        self.surroundings = Surroundings()
        self.before_training = None     # the model BeforeTraining, from its first step on
        self.unmoved = None             # the same from the first backward on, while the script has made no optimizer
        self.kept_batches = []          # what `keep` gave

    # backward calls

    @quietly
    def backward_begins(self, tensor, where):
        """tensor: what it runs on, None where unknown; where: the Site of the call."""
        self.gradients.depth += 1
        if self.gradients.depth > 1:
            return
        self.stopping.check()
        self.stopping.start_clock()
        self.loaders.count_backward()
        now = self.passes.open
        if now is not None:
            if self.stopping.looks_ahead and self.is_of_another_run(now):
                self.guard.attempt(self.remakings.look, now.calls, self.before_training, self.record.optimizer_steps)
                self.finish("enough seen")
            self.passes.trains(now)
        self.stopping.trains_again()
        if self.stopping.training_over:
            return
        self.look_for_a_step_by_hand()
        self.gradients.backward_begins(tensor, where)
        if now is None:
            return
        if self.steps.in_closure:       # only now is it known which model the closure trains; no weight has moved yet
            self.look_before_training()
        if isinstance(tensor, torch.Tensor):
            self.losses.backward_on(tensor)
            if now.ids is not None and is_close(self.record):
                self.guard.attempt(pooling.describe, now, self.passes.pad_id(now.ids))
            if len(self.kept_batches) < KEPT_BATCHES and is_close(self.record):
                kept = self.keep(now, tensor)
                if kept is not None:
                    self.kept_batches.append(kept)

    def is_of_another_run(self, now):
        """Another model trains, with an optimizer of its own that was made after the first one's steps: the next fold or
        trial. What belongs to it is not mixed with the run that was observed."""
        trained = {id(each) for root in self.models.trained.values() for each in root.parameters()}
        mine = [each for call in now.calls for each in call.module.parameters()]
        return bool(trained and mine and self.record.steps) and not any(id(each) in trained for each in mine) \
            and self.optimizers.all_made_late(mine)

    @quietly
    def backward_ends(self):
        self.gradients.depth -= 1
        if not self.gradients.depth and not self.stopping.training_over:
            self.gradients.backward_ended()
            if not self.optimizers.by_id:
                self.unmoved = self.unmoved or self.describe_model()
                self.by_hand.backward_ended()
            self.stopping.after_backward(lambda: self.optimizers.are_stepped_in(self.script))

    def backward_failed(self):
        self.gradients.depth = max(0, self.gradients.depth - 1)

    @quietly
    def recomputed_without_gradient(self):
        now = self.passes.open
        if self.record.recomputed_site is None and now is not None and now.batch.gradient_enabled:
            self.record.recomputed_site = source.site()

    # optimizer steps

    @quietly
    def step_begins(self, optimizer, closure):
        """closure: the optimizer was given one."""
        self.evaluation.step_begins(self.models.trained.values())
        if self.stopping.training_over:
            return
        self.optimizers.step_begins(optimizer)
        if not closure or self.models.trained:
            self.look_before_training()
        if self.passes.open is not None and self.passes.open.backward:
            self.remakings.look(self.passes.open.calls, self.before_training, self.record.optimizer_steps)
        self.steps.begins(optimizer, closure)

    @quietly
    def step_ends(self, optimizer):
        self.evaluation.step_ends(self.models.trained.values())
        if not self.stopping.training_over and self.steps.ends(optimizer):
            self.step_was_made()

    @quietly
    def scaler_step_ends(self):
        scaler_step = self.scaling.take_step()
        if self.stopping.training_over:
            return
        if scaler_step is not None and not scaler_step.stepped:
            self.look_before_training()
            self.steps.skipped(scaler_step)
            self.step_was_made()

    def look_for_a_step_by_hand(self):
        if not (self.stopping.training_over or self.optimizers.by_id) and self.by_hand.was_made():
            self.look_before_training()
            self.step_was_made()

    def look_before_training(self):
        """At the first step: the model before it, and what runs the step."""
        if self.before_training is not None:
            return
        self.before_training = self.unmoved if self.record.steps else self.describe_model()
        self.unmoved = None
        self.surroundings.look(sys._getframe())
        spaces = [frame.f_locals for frame in source.user_frames()]
        self.schedules.look_before_first_step(spaces)
        validating = libraries.validation_loaders(self.surroundings.runner)
        self.loaders.look_for_names(spaces + [{f"val_{place}": loader for place, loader in enumerate(validating)}])

    def describe_model(self):
        return before_training.describe(self.models, self.optimizers, self.checkpoints)

    def step_was_made(self):
        self.stopping.start_clock()
        going_on = self.stopping.forward is not None
        still = stand_still(self.record.steps, [list(of_step.values()) for of_step in self.steps.rates])
        self.stopping.after_step(self.loaders.iteration, self.loaders.training(), still)
        if self.stopping.forward is not None and not going_on:
            self.guard.attempt(libraries.end_epoch, self.surroundings.runner)
        if self.stopping.looks_ahead and self.remakings.are_enough():
            self.stopping.stop_soon()
        if not self.files.guarded and time.monotonic() - self.written_at > WRITE_EVERY:
            self.guard.attempt(self.write_so_far)
            self.written_at = time.monotonic()

    def write_so_far(self):
        """So that a kill loses little."""
        assemble.fill(self)
        self.write(self.record)

    def training_is_over(self):
        """Its facts are complete: what the script still trains on its way to the end adds nothing to them."""
        self.guard.closed |= {self.gradients, self.scaling, self.schedules, self.freezes}

    # the end

    def crashed(self, error):
        """The script's exception came out at its top."""
        if not self.guard.in_own_process():
            os._exit(1)
        if self.files.guarded:
            self.finish("enough seen")      # it may be the cut that made it fail
        self.guard.quiet = True
        code = getattr(error, "code", None)
        if isinstance(error, SystemExit) and (code in (None, 0) or self.record.steps):
            self.finish("script ended")
        if isinstance(error, EOFError) and "reading a line" in str(error):
            self.finish("asked for input")
        self.record.crash = describe_crash(error)
        self.guard.attempt(self.passes.settle_crashed)
        self.finish("crashed")

    def finish(self, ended):
        """Do what is to be done at the stop, and end the process; never returns."""
        if not self.guard.in_own_process():
            os._exit(0)
        self.guard.quiet = True
        self.record.ended = "enough seen" if self.stopping.at_next_pass or self.stopping.training_over else ended
        self.record.left_out = [line for book in source.NOTEBOOKS.values() for line in book.left_out]
        self.record.kept_files = [source.shown(path) for path in self.files.old_files.kept]
        self.guard.attempt(self.passes.close)
        try:
            self.conclude(self)
        except BaseException as error:
            self.guard.note(error)
            self.guard.attempt(self.write, self.record)
        for stream in (sys.stdout, sys.stderr):
            self.guard.attempt(stream.flush)
        os._exit(0)


def describe_crash(error):
    """A Crash whose traceback holds the script's own lines and the error."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if source.is_users(frame.filename)]
    message = "\n".join(traceback.format_exception_only(error)).strip()
    sites = [source.make_site(frame.filename, frame.lineno) for frame in frames]
    text = "".join(map(describe_frame, frames, sites)) + message
    where = sites[-1] if sites else None
    return Crash(type(error).__name__, str(error)[:2000], text[-8000:], where)


def describe_frame(frame, site):
    """A frame as Python shows it; one of a notebook with its cell."""
    text = traceback.format_list([frame])[0]
    if site.cell is None:
        return text
    return text.replace(f'File "{frame.filename}", line {frame.lineno}',
                        f'File "{site.file}", cell {site.cell}, line {site.line}', 1)
