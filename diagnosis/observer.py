"""Watches a script train and fills the record: what it saw stays here until it is turned to facts at the stop.

patches.py calls the methods below at every point of interest. Each is wrapped by `quietly`: an error of the observer is
noted and never reaches the script. Facts only: nothing here knows a fault.
"""

import functools
import inspect
import os
import re
import sys
import time
import traceback
from collections import deque
from dataclasses import dataclass, field

import torch
from torch import nn

from diagnosis import facts, nested, source
from diagnosis.record import Batch, Clip, Crash, Record, Step

STEPS = 40              # optimizer steps that are observed
FEWEST_STEPS = 8        # never fewer, however slow they are
STEPPING_SECONDS = 35   # of stepping, after which FEWEST_STEPS will do
FORWARD_SECONDS = 15    # of going on to the epoch's end and into the next epoch
FORWARD_STEPS = 2       # optimizer steps of the next epoch that are still seen
FORWARD_BATCHES = 4     # batches of each validation pass while going on
BACKWARDS = 60          # backward calls without any optimizer step that are enough
BACKWARDS_STEPPED = 300     # the same where the source has a step() call that may still come
CLOSE_STEPS = 3         # the first steps are measured closely, then every CLOSE_EVERY-th
CLOSE_EVERY = 8
KEPT_BATCHES = 8        # training batches whose inputs are kept for the controls
MOST_BATCHES = 300      # forward passes of a role that are described
WRITE_EVERY = 5         # seconds between two records written while observing
GRAPH_NODES = 20_000    # of a graph that are walked through
INITIAL_STATE = 2e9     # bytes of a model whose state before training is kept
WEIGHT_SAMPLE = 200_000     # weights of each tensor in which unchanged ones are counted

NOT_OPERATIONS = {"view", "unsafeview", "squeeze", "unsqueeze", "select", "slice", "index", "clone", "tocopy", "alias",
                  "t", "transpose", "permute", "expand", "asstrided", "reshapealias", "indexselect", "gather", "split",
                  "contiguous", "copyslices", "cat", "stack", "unbind", "splitwithsizes"}
OPERATION_NAMES = {"addmm": "linear", "mm": "linear", "bmm": "linear", "linear": "linear", "nativedropout": "dropout",
                   "logsoftmax": "log_softmax", "clampmin": "clamp"}


def quietly(method):
    """Let no error of an observing method reach the script; nested calls and other processes are left alone."""
    @functools.wraps(method)
    def wrapped(self, *args, **kwargs):
        if self.quiet or os.getpid() != self.pid:
            return None
        self.quiet = True
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.note(error)
            return None
        finally:
            self.quiet = False
    return wrapped


@dataclass
class LossCall:
    """One call of a loss function of torch.nn.functional."""
    name: str
    function: object
    arguments: dict             # by name, the input and the target among them
    result: object = None
    site: object = None
    inside: bool = False        # called within the model's forward
    input_value: object = None  # detached, as the loss saw it


@dataclass
class Pass:
    """One forward pass that is going on, with the live tensors of it."""
    batch: Batch
    serial: int                         # batches fetched from loaders before it
    iteration: object = None            # the loader's iteration that it belongs to
    calls: list = field(default_factory=list)       # (outermost module, args, kwargs, output)
    losses: list = field(default_factory=list)
    ids: object = None                  # rows x width
    mask: object = None
    encoder_seen: bool = False
    first_token: object = None          # the encoder's output at each row's first token
    backward: bool = False
    target: object = None
    recent: list = field(default_factory=list)      # batches that its loader gave lately, this pass's among them


@dataclass
class SeenLoader:
    """One torch DataLoader of the script."""
    loader: object
    made: object = None
    iterations: int = 0
    fetched: int = 0
    trained: int = 0                    # iterations in which a backward was seen
    votes: int = 0                      # backward calls that followed one of its batches
    names: set = field(default_factory=set)
    mappings: list = field(default_factory=list)    # see examples.py
    seen: list = field(default_factory=list)        # (batch, ids, target) of a few passes


@dataclass
class SeenSchedule:
    scheduler: object
    kind: str
    maker: str
    arguments: dict
    made: object
    copy: object = None                 # as made, for working out its factors
    names: set = field(default_factory=set)
    calls_at: list = field(default_factory=list)
    call_site: object = None
    in_batch_loop: bool | None = None
    factors: list = field(default_factory=list)


@dataclass
class Freeze:
    """One line that froze something, with weak references to what it froze."""
    site: object
    kind: str
    touched: dict = field(default_factory=dict)     # id -> weakref of the parameter


class Iteration:
    """One pass over a DataLoader, watched; behaves as the iterator in it."""

    def __init__(self, observer, seen, inner):
        self.observer, self.seen, self.inner = observer, seen, inner
        self.fetched, self.trained, self.active = 0, False, True
        self.recent = deque(maxlen=8)       # loaders of accelerate fetch ahead

    def __iter__(self):
        return self

    def __len__(self):
        return len(self.inner)

    def __next__(self):
        if self.observer.ends_early(self):
            self.active = False
            raise StopIteration
        try:
            batch = next(self.inner)
        except StopIteration:
            self.active = False
            raise
        self.observer.fetched(self, batch)
        return batch

    def __getattr__(self, name):
        return getattr(self.__dict__["inner"], name)


class Observer:
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
        self.loaders, self.iteration, self.serial = {}, None, 0
        self.optimizers, self.made, self.stepped = {}, {}, {}   # by id: optimizer; (site, rates); those that stepped
        self.schedules, self.scheduler_depth = {}, 0
        self.freezes, self.tokenizer_calls, self.loads, self.dropouts = {}, [], [], {}
        self.texts = 0
        self.trainer = None
        self.replays, self.activations, self.norm_rows, self.training_flags = [], {}, {}, {}
        self.described = None           # of the model before its first step
        self.frames_loops = None
        self.new_draft()
        self.step_began, self.last_step_at, self.written_at = None, None, time.monotonic()
        self.first_tokens = [None, None]
        self.close, self.in_closure, self.before_step = None, False, None
        self.scaler_step, self.pending_scale, self.scaled_gradients, self.last_scaled = None, None, False, None
        self.rates, self.closures, self.last_gradients = [], False, {}
        self.backward_depth = 0
        self.joined, self.gradient_rows, self.gradients, self.step_site_now = set(), [], None, None
        self.forwarded, self.forward_steps, self.forward_from, self.forward_index = None, 0, 0, None
        self.started = time.time()

    def note(self, error):
        if len(self.record.observer_errors) < 50:
            where = traceback.extract_tb(error.__traceback__)
            place = f" ({os.path.basename(where[-1].filename)}:{where[-1].lineno})" if where else ""
            self.record.observer_errors.append(f"{type(error).__name__}: {error}{place}"[:300])

    # modules

    @quietly
    def module_begins(self, module, args, kwargs):
        """An outermost module is called: begin a pass, or go on with the one that is open."""
        if id(module) not in self.roots and not self.know(module):
            return None
        self.check_time()
        now = self.open
        if (now is None or now.backward or now.serial != self.serial
                or any(one[0] is module for one in now.calls)):
            self.close_pass()
            batch = Batch("validation", self.record.optimizer_steps, 0, gradient_enabled=torch.is_grad_enabled(),
                          head_training=module.training, site=source.site())
            batch._serial = self.serial
            now = self.open = Pass(batch, self.serial, self.iteration)
            now.recent = list(self.iteration.recent) if self.iteration is not None else []
            if sum(one.role == "validation" for one in self.record.batches) < MOST_BATCHES:
                self.record.batches.append(batch)
            self.passes.append((batch, []))
        now.batch.head_training = module.training
        now.calls.append([module, args, kwargs, None])
        self.passes[-1][1].append(id(module))
        self.see_autocast()
        if self.encoder is None or module is self.encoder:
            self.encoder_called(module, args, kwargs)
        return now

    def know(self, module):
        """Is this outermost module (part of) a model? It is then watched from here on."""
        if type(module).__module__ == "torch.nn.modules.loss" or not any(True for _ in module.parameters()):
            return False
        self.roots[id(module)] = module
        encoder = facts.find_encoder(module)
        if encoder is not None and (self.encoder is None or not self.trained_roots):
            self.encoder = encoder
            self.watched[id(encoder)] = "encoder"
        inside = {id(one) for one in encoder.modules()} if encoder is not None else set()
        for one in module.modules():
            if id(one) not in inside and isinstance(one, facts.ACTIVATIONS):
                self.watched[id(one)] = "activation"
            elif isinstance(one, facts.NORMS):
                self.watched[id(one)] = "norm"
        return True

    @quietly
    def module_ends(self, now, output):
        now.calls[-1][3] = output
        if now.calls[-1][0] is self.encoder:
            self.encoder_output(output)

    @quietly
    def watched_begins(self, module, args, kwargs):
        kind = self.watched.get(id(module))
        if kind == "encoder":
            self.encoder_called(module, args, kwargs)
        elif kind == "norm" and module.training and args:
            self.norm_rows[id(module)] = min(int(args[0].shape[0]), self.norm_rows.get(id(module), 1 << 30))

    @quietly
    def watched_ends(self, module, output):
        kind = self.watched.get(id(module))
        if kind == "encoder":
            self.encoder_output(output)
        elif kind == "activation" and module.training and self.is_close() and isinstance(output, torch.Tensor):
            if output.dim() > 1 and output.shape[0] > 1:
                with torch.no_grad():
                    self.activations[id(module)] = float((output == 0).all(0).float().mean())

    def encoder_called(self, module, args, kwargs):
        """What reaches the encoder (or, where there is none, the outermost module)."""
        now = self.open
        if now is None or now.encoder_seen:
            return
        given = dict(kwargs)
        try:
            signature = inspect.signature(module.forward)
            given = dict(signature.bind_partial(*args, **kwargs).arguments)
            for name in [one.name for one in signature.parameters.values() if one.kind == one.VAR_KEYWORD]:
                given |= given.pop(name, {}) or {}
        except (TypeError, ValueError):
            pass
        found = nested.tensors(given)
        whole = [(nested.key_of(path), leaf) for path, leaf in found
                 if leaf.dim() == 2 and not leaf.is_floating_point() and leaf.dtype != torch.bool]
        ids = next((leaf for name, leaf in whole if name in ("input_ids", "ids", "tokens")), None)
        if ids is None:
            ids = next((leaf for name, leaf in whole if "mask" not in name and "type" not in name), None)
        mask = next((leaf for path, leaf in found if "mask" in nested.key_of(path)), None)
        if mask is None and ids is not None and module is not self.encoder:
            mask = next((leaf for _, leaf in found if leaf is not ids and leaf.shape == ids.shape
                         and bool(((leaf == 0) | (leaf == 1)).all())), None)
        now.batch.gradient_enabled = torch.is_grad_enabled()
        now.batch.encoder_training = module.training
        now.encoder_seen = module is self.encoder
        self.see_autocast()
        if ids is not None:
            now.ids, now.mask = ids.detach(), mask.detach() if mask is not None else None
            self.describe_ids(now)
        elif found:
            now.batch.rows = int(found[0][1].shape[0]) if found[0][1].dim() else 0

    def describe_ids(self, now):
        tokenizer = self.tokenizer_calls[0]["tokenizer"] if self.tokenizer_calls else None
        unknown = getattr(tokenizer, "unk_token_id", None)
        facts.describe_input(now.batch, now.ids, now.mask, self.pad_id(now.ids), unknown)

    def pad_id(self, ids):
        tokenizer = self.tokenizer_calls[0]["tokenizer"] if self.tokenizer_calls else None
        config = getattr(self.encoder, "config", None)
        return facts.guess_pad_id(ids, getattr(tokenizer, "pad_token_id", None), getattr(config, "pad_token_id", None))

    def encoder_output(self, output):
        hidden = next((leaf for _, leaf in nested.tensors(output) if leaf.dim() == 3), None)
        if hidden is not None and self.open is not None:
            self.open.first_token = hidden[:, 0].detach()

    def see_autocast(self):
        if self.record.autocast is None:
            for device in ("cuda", "cpu"):
                if torch.is_autocast_enabled(device):
                    self.record.autocast = str(torch.get_autocast_dtype(device)).removeprefix("torch.")

    def close_pass(self):
        """The pass is over: keep what examples need and let go of its tensors."""
        now, self.open = self.open, None
        if now is None:
            return
        batch = now.batch
        if batch.rows == 0 and batch.labels is not None:
            batch.rows = len(batch.labels)
        labels = batch.labels if batch.labels is not None and len(batch.labels) == batch.rows else []
        if now.ids is not None:
            self.samples.append((batch, facts.strip_padding(now.ids, self.pad_id(now.ids)), labels))
        else:
            self.samples.append((batch, [], labels))
        if len(self.samples) > MOST_BATCHES:
            del self.samples[0]
        if now.iteration is not None:
            seen = now.iteration.seen
            if len(seen.seen) < 4 and (now.ids is not None or now.target is not None):
                seen.seen.append((now.recent, now.ids, now.target))
        if now.first_token is not None and batch.role == "training":
            if self.first_tokens[0] is None:
                self.first_tokens[0] = now.first_token
            self.first_tokens[1] = now.first_token

    # losses

    @quietly
    def loss_begins(self, name, function, args, kwargs):
        """A loss function is called: its facts are written down before it runs, so that a crash in it is explained."""
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        logits, target = given.get("input"), given.get("target")
        if not isinstance(logits, torch.Tensor):
            return None
        if self.open is None or self.open.backward:
            self.close_pass()
            batch = Batch("validation", self.record.optimizer_steps, 0, gradient_enabled=torch.is_grad_enabled())
            self.open = Pass(batch, self.serial, self.iteration)
            self.record.batches.append(batch)
            self.passes.append((batch, []))
        call = LossCall(name, function, given, site=source.site(), inside=self.depth > 0)
        call.input_value = logits.detach()
        self.open.losses.append(call)
        self.describe_loss(self.open, call)
        return call

    @quietly
    def loss_ends(self, call, result):
        call.result = result
        batch = self.open.batch if self.open is not None else None
        if batch is not None and isinstance(result, torch.Tensor) and batch.loss_function == call.name:
            batch.loss = float(result.detach().float().mean())

    def describe_loss(self, now, call):
        batch, logits, target = now.batch, call.input_value, call.arguments.get("target")
        if call.site is not None:
            batch.site = call.site
        batch.loss_function = call.name
        batch.label_smoothing = float(call.arguments.get("label_smoothing") or 0.0)
        batch.class_weights = call.arguments.get("weight") is not None or call.arguments.get("pos_weight") is not None
        batch.last_operation = last_operation(call.arguments["input"])
        batch.ignored = 0
        if logits.dim() <= 2:
            shown = logits.reshape(logits.shape[0], -1) if logits.dim() else logits.reshape(1, 1)
            batch.outputs = int(shown.shape[1])
            if shown.numel() <= 100_000:
                batch.logits = shown.float().tolist()
            batch.rows = batch.rows or int(shown.shape[0])
        if isinstance(target, torch.Tensor):
            now.target = target.detach()
            batch.labels = facts.describe_labels(target, int(logits.shape[0]) if logits.dim() else 1)
            ignore = call.arguments.get("ignore_index")
            if ignore is not None and batch.labels is not None and not target.is_floating_point():
                batch.ignored = batch.labels.count(ignore)

    # backward

    @quietly
    def backward_begins(self, tensor, where):
        self.backward_depth += 1
        if self.backward_depth > 1:
            return
        record, draft = self.record, self.draft
        record.backwards += 1
        draft["backwards"] += 1
        record.backward_site = record.backward_site or where
        if self.step_began is None:
            self.step_began = time.monotonic()
        with torch.no_grad():
            if draft["backwards"] == 1:
                present = [one.grad for one in self.all_parameters() if one.grad is not None]
                draft["before"] = total(norms(present)) if present else 0.0
            if isinstance(tensor, torch.Tensor):
                value = tensor.detach().float().mean()
                factor = self.pending_scale if self.last_scaled is tensor else None
                draft["loss"], draft["factor"] = value, factor or 1.0
        if self.last_scaled is tensor and self.pending_scale and self.pending_scale > 1:
            self.scaled_gradients = True
        if self.iteration is not None:
            self.iteration.trained or self.count_training_pass(self.iteration)
            self.iteration.seen.votes += 1
        now = self.open
        if now is None:
            return
        self.choose_training(now)
        if isinstance(tensor, torch.Tensor):
            self.look_at_graph(now, tensor)
            self.fill_custom_loss(now, tensor)
            if len(self.replays) < KEPT_BATCHES and self.is_close():
                from diagnosis import replay
                made = replay.make(now, tensor)
                if made is not None:
                    self.replays.append(made)

    def count_training_pass(self, iteration):
        iteration.trained = True
        iteration.seen.trained += 1

    def choose_training(self, now):
        """A backward followed: this pass is training, and so are others on the same batch (two views of it)."""
        now.backward = True
        now.batch.role = "training"
        for module, *_ in now.calls:
            self.trained_roots[id(module)] = module
            if self.is_close():
                self.training_flags |= {id(one): one.training for one in module.modules()}
        ids = self.passes[-1][1]
        if now.iteration is not None:
            for batch, roots in self.passes[-4:-1]:
                if set(roots) & set(ids) and getattr(batch, "_serial", None) == now.serial:
                    batch.role = "training"

    def look_at_graph(self, now, tensor):
        batch = now.batch
        chosen = next((one for one in now.losses if one.result is tensor), None) or (now.losses[-1] if now.losses else None)
        if chosen is not None and chosen is not now.losses[-1]:
            self.describe_loss(now, chosen)
            batch.loss = float(chosen.result.detach().float().mean())
        if not self.is_close():
            return
        batch.loss_has_graph = self.reaches_parameter(tensor)
        if chosen is not None and isinstance(chosen.result, torch.Tensor):
            batch.loss_sign = sign_of(tensor, chosen.result)

    def reaches_parameter(self, tensor):
        mine = {id(one) for one in self.all_parameters()}
        if tensor.grad_fn is None:
            return id(tensor) in mine
        todo, seen = [tensor.grad_fn], set()
        while todo and len(seen) < GRAPH_NODES:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            variable = getattr(node, "variable", None)
            if variable is not None and id(variable) in mine:
                return True
            todo.extend(following for following, _ in node.next_functions if following is not None)
        return False if len(seen) < GRAPH_NODES else None

    def fill_custom_loss(self, now, tensor):
        """Logits and labels of a loss that no function of torch computed."""
        if now.losses:
            return
        batch = now.batch
        batch.loss = float(tensor.detach().float().mean())
        outputs = nested.tensors(now.calls[-1][3]) if now.calls else []
        logits = next((leaf for _, leaf in outputs if leaf.is_floating_point() and leaf.dim() == 2
                       and (not batch.rows or leaf.shape[0] == batch.rows)), None)
        if logits is None:
            return
        batch.rows, batch.outputs = int(logits.shape[0]), int(logits.shape[1])
        batch.logits, batch.last_operation = logits.detach().float().tolist(), last_operation(logits)
        now.target = target_in_graph(tensor, batch.rows, batch.outputs)
        if now.target is not None:
            batch.labels = facts.describe_labels(now.target, batch.rows)
            return
        recent = [now.calls[-1][2]] + now.recent[::-1]
        for group in recent:
            found = [(nested.key_of(path).lower(), leaf) for path, leaf in nested.tensors(group)
                     if leaf.dim() == 1 and leaf.shape[0] == batch.rows]
            found.sort(key=lambda one: not any(word in one[0] for word in ("label", "target", "y", "class")))
            if found:
                now.target = found[0][1].detach()
                batch.labels = facts.describe_labels(now.target, batch.rows)
                return

    @quietly
    def backward_ends(self):
        self.backward_depth -= 1
        if self.backward_depth:
            return
        with torch.no_grad():
            self.draft["has_gradient"] = any(one.grad is not None for one in self.all_parameters())
            if self.draft["has_gradient"] and self.is_close():
                self.last_gradients = self.measure_gradients()
                self.draft["after"] = total(self.last_gradients.values())
        if not self.record.steps:
            enough = BACKWARDS_STEPPED if self.steps_in_source() else BACKWARDS
            slow = time.monotonic() - self.step_began > 2 * STEPPING_SECONDS and self.record.backwards >= FEWEST_STEPS
            if self.record.backwards >= enough or (slow and self.record.backwards >= BACKWARDS):
                self.finish("enough seen")

    def backward_failed(self):
        self.backward_depth = max(0, self.backward_depth - 1)

    def steps_in_source(self):
        """Does the source call step() on something that holds an optimizer or a gradient scaler?"""
        spaces = [vars(sys.modules["__main__"])] + [frame.f_locals for frame in source.user_frames()]
        names = set().union({"scaler"}, *(source.names_of(one, spaces) for one in self.optimizers.values()))
        return bool(source.calls_of(source.users_files(self.script), names, "step"))

    # gradients and steps

    def new_draft(self):
        self.draft = {"backwards": 0, "before": 0.0, "loss": None, "factor": 1.0, "has_gradient": False, "after": None,
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
        if self.draft["backwards"] and self.draft["has_gradient"]:
            self.draft["cleared"] = True

    @quietly
    def clipped(self, kind, limit, norm, where):
        if kind == "value":
            norm = None
        self.draft["clip"] = Clip(kind, float(limit), None if norm is None else float(norm), self.scaled_gradients, where)

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
        from diagnosis import assemble
        self.described = assemble.describe_before_training(self)
        self.look_at_frames()

    def measure_gradients(self):
        """{id of a parameter: its gradient's norm}, of all parameters that have one."""
        with torch.no_grad():
            having = [one for one in self.all_parameters() if one.grad is not None]
            return dict(zip(map(id, having), norms([one.grad for one in having])))

    def copy_weights(self, optimizer):
        with torch.no_grad():
            held = [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
            return held, [one.detach().clone() for one in held]

    @quietly
    def step_ends(self, optimizer):
        record = self.record
        gradients = self.measure_gradients() if self.gradients is None else self.gradients
        mine = [gradients[id(one)] for group in optimizer.param_groups for one in group["params"] if id(one) in gradients]
        joins = (record.steps and not self.draft["backwards"] and not self.in_closure and not record.steps[-1].skipped
                 and id(optimizer) not in self.joined)
        if joins:       # a second optimizer that steps on the same backward
            step = record.steps[-1]
            step.gradient_norm = combine(step.gradient_norm, total(mine) if mine else None)
            self.measure_update(step)
            self.joined.add(id(optimizer))
            return
        step = self.make_step(self.step_site_now)
        step.gradient_norm = total(mine) if mine else None
        draft = self.draft
        if draft["has_gradient"] and not step.gradient_norm:
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
            step.update_norm = combine(step.update_norm, total(norms(changes)))
            step.weight_norm = combine(step.weight_norm, total(norms(now)))
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

    # loaders

    @quietly
    def loader_made(self, loader):
        self.loaders[id(loader)] = SeenLoader(loader, source.site())

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
        iteration.recent.append(batch)
        self.check_time()

    @quietly
    def ends_early(self, iteration):
        """Is this pass over a loader to end now, so that the script goes on?"""
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
        import weakref
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

    def after_step(self):
        steps, now = len(self.record.steps), time.monotonic()
        if self.forwarding is not None:
            training = self.training_loader()
            self.forward_steps += training is None or training.trained > self.forward_from
            if self.forward_steps >= FORWARD_STEPS:
                self.finish("enough seen")
        elif steps >= STEPS or (steps >= FEWEST_STEPS and now - self.step_began > STEPPING_SECONDS):
            if self.iteration is not None and self.iteration.active and self.iteration.trained:
                from diagnosis import patches
                self.forwarding, self.forward_steps, self.forward_index = now, 0, steps
                self.forwarded, self.forward_from = self.iteration, self.iteration.seen.trained
                patches.watch_files(self)
            else:
                self.finish("enough seen")
        elif now - self.written_at > WRITE_EVERY:
            self.write_light()

    def check_time(self):
        if self.forwarding is not None and time.monotonic() - self.forwarding > FORWARD_SECONDS:
            self.finish("enough seen")

    def write_light(self):
        """The record as far as it goes, so that a kill loses little."""
        from diagnosis import assemble
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
        if self.forwarding is not None or (old and len(self.record.steps) >= FEWEST_STEPS):
            self.finish("enough seen")

    def crashed(self, error):
        """The script's exception came out at its top."""
        if os.getpid() != self.pid:
            os._exit(1)                     # a process that the script forked
        if self.forwarding is not None:
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
        from diagnosis import assemble
        self.quiet = True
        self.record.ended = ended
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


def norms(tensors):
    """Euclidean norm of each tensor, in float32."""
    if not tensors:
        return []
    try:
        found = torch._foreach_norm(tensors, 2, dtype=torch.float32)
    except (RuntimeError, TypeError):
        found = [(one.coalesce().values() if one.is_sparse else one).float().norm() for one in tensors]
    return torch.stack([one.to(found[0].device) for one in found]).tolist()


def total(values):
    return sum(value * value for value in values) ** 0.5


def combine(one, other):
    """The norm of two disjoint sets of numbers from the norm of each."""
    return total([value for value in (one, other) if value is not None]) if (one, other) != (None, None) else None


def plain(value):
    """A number, text, truth or short list of them as it is; None for anything else."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and len(value) <= 20 and all(isinstance(one, (int, float)) for one in value):
        return list(value)
    return None


def sign_of(tensor, loss):
    """+1 or -1: which way the tensor that backward runs on moves with the loss; 0: it does not depend on it."""
    if not (tensor.requires_grad and loss.requires_grad):
        return 0 if tensor.requires_grad else None
    if tensor is loss:
        return 1
    with torch.enable_grad():
        gradient, = ORIGINALS["grad"](tensor.sum(), loss, retain_graph=True, allow_unused=True)
    if gradient is None:
        return 0
    slope = float(gradient.sum())
    return (slope > 0) - (slope < 0) if slope == slope else None


ORIGINALS = {"grad": torch.autograd.grad}


def last_operation(tensor):
    """What made a loss's input, by autograd's name in lower case; views, casts and indexing are looked through."""
    node = tensor.grad_fn
    for _ in range(20):
        if node is None:
            return None
        name = re.sub(r"Backward\d*$", "", node.name().removeprefix("torch::autograd::")).lower()
        if name == "mul" and is_dropout(node):
            return "dropout"
        following = [one for one, _ in node.next_functions if one is not None]
        if name in NOT_OPERATIONS or (name in ("mul", "div") and len(following) == 1):
            node = following[0] if following else None      # temperature and the like
        elif name == "add" and any("Mm" in one.name() or "UnsafeView" in one.name() for one in following):
            return "linear"
        elif name == "accumulategrad":
            return None
        else:
            return OPERATION_NAMES.get(name, name)
    return None


def target_in_graph(tensor, rows, outputs):
    """The labels that a hand-written loss picked by: an index, or a table of ones; None where the graph shows none."""
    todo, seen = [tensor.grad_fn], set()
    while todo and len(seen) < 100:
        node = todo.pop(0)
        if node is None or node in seen:
            continue
        seen.add(node)
        for name in ("_saved_target", "_saved_indices", "_saved_index", "_saved_other", "_saved_self"):
            try:
                saved = getattr(node, name, None)
            except RuntimeError:
                continue
            for one in saved if isinstance(saved, (list, tuple)) else [saved]:
                if isinstance(one, torch.Tensor) and is_target(one, rows, outputs):
                    return one.detach().reshape(-1) if one.numel() == rows else one.detach()
        todo.extend(following for following, _ in node.next_functions)
    return None


def is_target(one, rows, outputs):
    if one.requires_grad or one.dtype == torch.bool or one.dim() == 0:
        return False
    if one.numel() == rows and not one.is_floating_point():
        return int(one.min()) >= 0 and int(one.max()) < outputs and not torch.equal(
            one.reshape(-1), torch.arange(rows, device=one.device))
    return (tuple(one.shape) == (rows, outputs) and outputs > 1 and bool(((one == 0) | (one == 1)).all())
            and bool((one.sum(1) == 1).all()))


def is_dropout(node):
    """Multiplied by a mask of zeros and one other value."""
    other = getattr(node, "_saved_other", None)
    if not isinstance(other, torch.Tensor) or other.dim() < 2 or other.requires_grad:
        return False
    values = torch.unique(other)
    return len(values) == 2 and float(values[0]) == 0.0 and float(values[1]) > 1.0


def describe_crash(error):
    """A Crash whose traceback holds the script's own lines and the error."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if source.is_users(one.filename)]
    message = "\n".join(traceback.format_exception_only(error)).strip()
    text = "".join(traceback.format_list(frames)) + message
    where = source.make_site(frames[-1].filename, frames[-1].lineno) if frames else None
    return Crash(type(error).__name__, str(error)[:2000], text[-8000:], where)
