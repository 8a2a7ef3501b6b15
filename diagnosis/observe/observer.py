"""Watches a script train and fills the record: what it saw stays here until it is turned to facts at the stop.

patches.py calls the methods of the Observer at every point of interest (those on passes and steps stand in passes.py
and steps.py). Each is wrapped by `quietly`: an error of the observer is noted and never reaches the script. Facts only:
nothing here knows a fault.
"""

import os
import sys
import time
import traceback
import weakref

from diagnosis.record import facts, nested, source
from diagnosis.observe.passes import Passes
from diagnosis.record.record import Crash, Record
from diagnosis.observe.seen import Freeze, Iteration, SeenLoader, quietly
from diagnosis.observe.steps import Steps

STEPS = 40              # optimizer steps that are observed
FEWEST_STEPS = 8        # never fewer, however slow they are
STEPPING_SECONDS = 35   # of stepping, after which FEWEST_STEPS will do
FORWARD_SECONDS = 15    # of going on to the epoch's end and into the next epoch
FORWARD_STEPS = 2       # optimizer steps of the next epoch that are still seen
FORWARD_BATCHES = 4     # batches of each validation pass while going on
BACKWARDS = 60          # backward calls without any optimizer step that are enough
BACKWARDS_STEPPED = 300     # the same where the source has a step() call that may still come
WRITE_EVERY = 5         # seconds between two records written while observing


class Observer(Passes, Steps):
    """All that was seen of the running script."""

    def __init__(self, path, script, arguments):
        self.path, self.script, self.pid, self.began = path, script, os.getpid(), time.monotonic()
        self.record = Record(target=str(script), arguments=list(arguments))
        self.quiet = False              # the observer itself is at work
        self.depth = 0                  # of module calls
        self.forwarding = None          # monotonic time at which fast-forward began
        self.roots, self.encoder, self.watched = {}, None, {}
        self.trained_roots = {}
        self.open, self.passes = None, []       # the Pass going on; (Batch, ids of its roots) of all
        self.samples = []               # (stripped ids, labels) of passes, for examples where no loader helps
        self.loaders, self.kept_loaders, self.iteration, self.serial = {}, [], None, 0
        self.optimizers, self.made, self.stepped = {}, {}, {}   # by id: optimizer; (site, rates); those that stepped
        self.schedules, self.scheduler_depth = {}, 0
        self.freezes, self.tokenizer_calls, self.loads, self.dropouts = {}, [], [], {}
        self.trainer = None
        self.replays, self.activations, self.norm_rows, self.training_flags = [], {}, {}, {}
        self.described = None           # of the model before its first step
        self.frames_loops = None
        self.new_draft()
        self.step_began, self.last_step_at, self.written_at = None, None, time.monotonic()
        self.first_tokens = [None, None]
        self.in_closure, self.before_step = False, None
        self.scaler_step, self.pending_scale, self.scaled_gradients, self.last_scaled = None, None, False, None
        self.rates, self.closures, self.last_gradients = [], False, {}
        self.backward_depth = 0
        self.joined, self.gradient_rows, self.gradients, self.step_site_now = set(), [], None, None
        self.forwarded, self.forward_steps, self.forward_from, self.forward_index = None, 0, 0, None
        self.started, self.ending = time.time(), False

    def attempt(self, function, *args):
        """What a function gives, or None and a note where it fails."""
        try:
            return function(*args)
        except Exception as error:
            self.note(error)
            return None

    def note(self, error):
        if len(self.record.observer_errors) < 50:
            where = traceback.extract_tb(error.__traceback__)
            place = f" ({os.path.basename(where[-1].filename)}:{where[-1].lineno})" if where else ""
            self.record.observer_errors.append(f"{type(error).__name__}: {error}{place}"[:300])

    # loaders

    @quietly
    def loader_made(self, loader):
        """A loader made anew by the same calls, once the one before was in use (every epoch), takes its place."""
        place = source.place(sys._getframe())
        before = next((one for one in self.loaders.values() if one.place == place and one.iterations), None)
        if before is not None:
            before.loader = loader
        self.loaders[id(loader)] = before or SeenLoader(loader, source.site(), place=place)
        self.kept_loaders.append(loader)        # so that its id stays its own

    @quietly
    def loader_iterated(self, loader, inner):
        seen = self.loaders.setdefault(id(loader), SeenLoader(loader))
        seen.iterations += 1
        if not seen.names:
            seen.names = self.names_now(loader)
        return Iteration(self, seen, inner)

    def names_now(self, value):
        spaces = [frame.f_locals for frame in source.user_frames()[:4]]
        return set().union(*(source.names_of(value, [space]) for space in spaces)) if spaces else set()

    @quietly
    def fetched(self, iteration, batch):
        self.serial += 1
        self.iteration = iteration
        iteration.fetched += 1
        iteration.seen.fetched += 1
        iteration.recent.append(nested.outer_copy(batch))
        self.check_time()

    @quietly
    def ends_early(self, iteration):
        """Is this pass over a loader to end now, so that the script goes on?"""
        if self.ending:
            self.finish("enough seen")
        if self.forwarding is None:
            return False
        self.check_time()
        training = self.training_loader()
        if iteration.seen is training and iteration.trained:
            return iteration is self.forwarded      # the epoch in which fast-forward began
        return iteration.fetched >= FORWARD_BATCHES

    def training_loader(self):
        """The loader whose batches backward calls followed most often; None where there is none."""
        best = max(self.loaders.values(), key=lambda one: one.votes, default=None)
        return best if best is not None and best.votes else None

    # tokenizers, checkpoints, freezing

    @quietly
    def tokenized(self, tokenizer, args, kwargs, result):
        texts = args[0] if args else kwargs.get("text")
        single = isinstance(texts, str)
        texts = [texts] if single else texts
        if not isinstance(texts, (list, tuple)) or not texts or not isinstance(texts[0], str):
            return
        settings = {name: value for name, value in kwargs.items() if name not in ("text", "text_pair", "text_target")}
        last = self.tokenizer_calls[-1] if self.tokenizer_calls else None
        if last is not None and last["tokenizer"] is tokenizer and last["settings"] == settings and single:
            if len(last["texts"]) < 400:
                last["texts"].append(texts[0])
            return
        if len(self.tokenizer_calls) < 60:
            self.tokenizer_calls.append({"tokenizer": tokenizer, "settings": settings, "texts": list(texts[:400]),
                                         "site": source.site(), "count": len(texts)})

    @quietly
    def loaded(self, name, model, missing, where):
        self.loads.append((str(name), model, missing, where))

    @quietly
    def froze(self, parameter, frame):
        where = source.site(frame)
        if where is None:
            return
        act = self.freezes.setdefault((where.file, where.line, "parameter"), Freeze(where, "parameter"))
        act.touched[id(parameter)] = weakref.ref(parameter)

    @quietly
    def dropout_called(self, p, training, frame):
        if source.is_users(frame.f_code.co_filename):
            key = (frame.f_code.co_filename, frame.f_lineno)
            self.dropouts[key] = (float(p), bool(training))

    # the way to the stop

    def look_at_frames(self):
        """The loops around the first optimizer step, outermost first, and the Trainer if one runs it."""
        frames = source.user_frames()
        self.frames_loops = [loop for frame in reversed(frames) for loop in source.loops_around(frame)]
        frame, trainer = sys._getframe(), getattr(sys.modules.get("transformers.trainer"), "Trainer", None)
        while frame is not None and trainer is not None:
            one = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames else None
            if isinstance(one, trainer):
                self.trainer = one
                break
            frame = frame.f_back
        spaces = [frame.f_locals for frame in frames]
        for seen in self.schedules.values():
            seen.names = source.names_of(seen.scheduler, spaces)
            seen.copy = seen.copy or facts.copy_schedule(seen.scheduler)
        for seen in self.loaders.values():
            seen.names |= source.names_of(seen.loader, spaces)

    def after_backward(self):
        """Stop where backward calls go on without any optimizer step."""
        if not self.record.steps:
            enough = BACKWARDS_STEPPED if self.steps_in_source() else BACKWARDS
            slow = time.monotonic() - self.step_began > 2 * STEPPING_SECONDS and self.record.backwards >= FEWEST_STEPS
            if self.record.backwards >= enough or (slow and self.record.backwards >= BACKWARDS):
                self.finish("enough seen")

    def steps_in_source(self):
        """Does the source call step() on something that holds an optimizer or a gradient scaler?"""
        spaces = [vars(sys.modules["__main__"])] + [frame.f_locals for frame in source.user_frames()]
        names = set().union({"scaler"}, *(source.names_of(one, spaces) for one in self.optimizers.values()))
        return bool(source.calls_of(source.users_files(self.script), names, "step"))

    def after_step(self):
        steps, now = len(self.record.steps), time.monotonic()
        if self.forwarding is not None:
            training = self.training_loader()
            self.forward_steps += training is None or training.trained > self.forward_from
            if self.forward_steps >= FORWARD_STEPS:
                self.stop_soon()
        elif steps >= STEPS or (steps >= FEWEST_STEPS and now - self.step_began > STEPPING_SECONDS):
            if self.iteration is not None and self.iteration.active and self.iteration.trained:
                from diagnosis.observe import patches
                self.forwarding, self.forward_steps, self.forward_index = now, 0, steps
                self.forwarded, self.forward_from = self.iteration, self.iteration.seen.trained
                patches.watch_files(self)
            else:
                self.stop_soon()
        elif now - self.written_at > WRITE_EVERY:
            self.write_light()

    def stop_soon(self):
        """Stop at the next pass, so that what follows this step in the script's loop is still seen."""
        self.ending = True
        if self.forwarding is None:
            from diagnosis.observe import patches
            patches.watch_files(self)

    def check_time(self):
        if self.ending:
            self.finish("enough seen")
        if self.forwarding is not None and time.monotonic() - self.forwarding > FORWARD_SECONDS:
            self.finish("enough seen")

    def write_light(self):
        """The record as far as it goes, so that a kill loses little."""
        from diagnosis.record import assemble
        try:
            assemble.write(assemble.fill(self), self.path)
        except Exception as error:
            self.note(error)
        self.written_at = time.monotonic()

    def checkpoint_written(self, path):
        """A checkpoint is about to be written: stop before one of an earlier run is lost."""
        if self.quiet or os.getpid() != self.pid:
            return
        old = os.path.exists(path) and os.path.getmtime(path) < self.started
        if self.forwarding is not None or self.ending or (old and len(self.record.steps) >= FEWEST_STEPS):
            self.finish("enough seen")

    def crashed(self, error):
        """The script's exception came out at its top."""
        if os.getpid() != self.pid:
            os._exit(1)                     # a process that the script forked
        if self.forwarding is not None or self.ending:
            self.finish("enough seen")      # it may be the cut that made it fail
        self.quiet = True
        code = getattr(error, "code", None)
        if isinstance(error, SystemExit) and (code in (None, 0) or self.record.steps):
            self.finish("script ended")
        if isinstance(error, EOFError) and "reading a line" in str(error):
            self.finish("asked for input")
        self.record.crash = describe_crash(error)
        self.finish("crashed")

    def finish(self, ended):
        """Turn what was seen to facts, make the controls, write the record and end the process; never returns."""
        if os.getpid() != self.pid:
            os._exit(0)
        from diagnosis.record import assemble
        self.quiet = True
        self.record.ended = "enough seen" if self.ending else ended
        try:
            assemble.finish(self)
        except BaseException as error:
            self.note(error)
            try:
                assemble.write(self.record, self.path)
            except Exception:
                pass
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
        os._exit(0)


def describe_crash(error):
    """A Crash whose traceback holds the script's own lines and the error."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if source.is_users(one.filename)]
    message = "\n".join(traceback.format_exception_only(error)).strip()
    text = "".join(traceback.format_list(frames)) + message
    where = source.make_site(frames[-1].filename, frames[-1].lineno) if frames else None
    return Crash(type(error).__name__, str(error)[:2000], text[-8000:], where)
