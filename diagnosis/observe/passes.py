"""The forward passes of a watched script: what reaches the model, what comes out, and which of them train."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn

from diagnosis.observe import encoder_input
from diagnosis.observe.guard import quietly
from diagnosis.observe.limits import is_close
from diagnosis.record import facts, nested, source, structure
from diagnosis.record.record import Batch

MOST_BATCHES = 300      # forward passes of a role that are described
VIEWS = 3               # passes before a training pass that may be other views of the same batch
# They compute the same in training mode and in evaluation mode, so nobody calls eval() on a head of these alone.
MODELESS = (nn.Linear, nn.Sequential, nn.LayerNorm, nn.Embedding, nn.Tanh, nn.ReLU, nn.GELU, nn.Identity)


class Call(NamedTuple):
    """One call of an outermost module."""
    module: object
    args: tuple
    kwargs: dict
    output: object = None       # None until it returns


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
    calls: list[Call] = field(default_factory=list)
    losses: list[LossCall] = field(default_factory=list)
    ids: object = None                  # rows x width
    mask: object = None
    starts: object = None               # where each row begins, if the encoder is given them end to end in one row
    encoder_seen: bool = False
    hidden: object = None               # the encoder's output, rows x width x size
    first_token: object = None          # the encoder's output at each row's first token
    backward: bool = False
    target: object = None
    recent: list = field(default_factory=list)      # batches that its loader gave lately, this pass's among them

    def loss_behind(self, tensor):
        """The loss call that gave this tensor, else the last one; None where none was seen."""
        return next((call for call in self.losses if call.result is tensor), self.losses[-1] if self.losses else None)


@dataclass
class PastPass:
    """What is kept of every pass."""
    batch: Batch
    serial: int | None = None           # as in Pass; None where a loss alone began it
    roots: list[int] = field(default_factory=list)      # ids of the outermost modules called


@dataclass
class Sample:
    """The rows of a pass, for examples where no loader helps."""
    batch: Batch
    ids: list[list[int]]                # without padding; empty where unknown
    labels: list[int]                   # of the same rows; empty where unknown


class Passes:
    """The pass going on, and what is kept of those before it."""

    def __init__(self, guard, record, models, layers, loaders, tokenizers, evaluation):
        self.guard, self.record, self.evaluation = guard, record, evaluation
        self.models, self.layers, self.loaders, self.tokenizers = models, layers, loaders, tokenizers
        self.open = None                # the Pass going on
        self.past = []                  # a PastPass of each, the one going on among them
        self.samples = []               # a Sample of each of the latest
        self.first_tokens = [None, None]        # the encoder's outputs in the first and in the last training pass
        self.inside_module = False      # an outermost module is at work
        self.before_each = lambda: None         # called before a pass begins
        self.numbers = {}               # hash of a row's token ids: its number in Batch.drawn

    # modules

    @quietly
    def module_begins(self, module, args, kwargs):
        """An outermost module is called: begin a pass, or go on with the one that is open."""
        if not self.models.knows(module):
            return None
        self.loaders.stopping.check()
        now = self.open
        if (now is None or now.backward or not self.is_on_latest_batch(now)
                or any(call.module is module for call in now.calls)):
            now = self.begin(module)
        if heeds_mode(module):
            now.batch.head_training = module.training
        now.calls.append(Call(module, args, kwargs))
        self.past[-1].roots.append(id(module))
        self.see_autocast()
        if self.models.encoder is None or module is self.models.encoder:
            self.encoder_called(module, args, kwargs)
        return now

    def begin(self, module=None):
        """Close the pass before and open one; it counts as validation until a backward follows.

        module   the outermost module called; None where a loss alone begins the pass
        """
        self.before_each()
        self.close()
        batch = Batch("validation", self.record.optimizer_steps, 0, gradient_enabled=torch.is_grad_enabled())
        now = self.open = Pass(batch, self.loaders.batches, self.loaders.iteration)
        if module is not None:
            batch.site = source.site()
            now.recent = list(now.iteration.recent) if now.iteration is not None else []
        if module is None or len(self.record.batches_of("validation")) < MOST_BATCHES:
            self.record.batches.append(batch)
        self.past.append(PastPass(batch, now.serial if module is not None else None))
        return now

    def is_on_latest_batch(self, now):
        """Was no batch fetched since this pass began?"""
        return now.serial == self.loaders.batches

    @quietly
    def module_ends(self, now, output):
        call, encoder = now.calls[-1]._replace(output=output), self.models.encoder
        now.calls[-1] = call
        if now.ids is None and not now.encoder_seen:    # compiled, or its forward called by name
            self.encoder_called(call.module, call.args, call.kwargs)
            now.batch.encoder_training = (facts.find_encoder(call.module) or call.module).training
        if call.module is encoder:
            self.encoder_gave(output)
        self.evaluation.module_gave(now, self.pad_id(now.ids) if now.ids is not None else None)

    @quietly
    def layer_begins(self, module, args, kwargs):
        """A watched module inside an outermost one is called."""
        kind = self.models.watched.get(id(module))
        if kind == "encoder":
            self.encoder_called(module, args, kwargs)
        elif kind == "norm":
            self.layers.norm_called(module, args)

    @quietly
    def layer_ends(self, module, output):
        kind = self.models.watched.get(id(module))
        if kind == "encoder":
            self.encoder_gave(output)
        elif kind == "activation" and is_close(self.record):
            self.layers.activation_gave(module, output)

    # the encoder

    def encoder_called(self, module, args, kwargs):
        """What reaches the encoder (or, where there is none, the outermost module)."""
        now = self.open
        is_encoder = module is self.models.encoder
        if now is None or now.encoder_seen and not is_encoder:
            return
        given = encoder_input.by_name(module, args, kwargs)
        ids, positions, end_to_end = encoder_input.token_ids(given), given.get("position_ids"), None
        if ids is not None and isinstance(positions, torch.Tensor) and facts.runs_end_to_end(ids, positions):
            ids, end_to_end, now.starts = facts.one_row_each(ids, positions, self.pad_id(ids))
        if now.encoder_seen:        # again in the same pass: pairs of texts, or parts of one, where the ids are others
            if ids is not None and now.ids is not None and not torch.equal(ids, now.ids):
                self.record.several_texts = True
            return
        mask = encoder_input.mask_by_name(given)
        mask = end_to_end if mask is None else mask
        if mask is None and ids is not None and not is_encoder:
            mask = encoder_input.mask_by_form(given, ids)
        now.batch.gradient_enabled, now.batch.encoder_training = torch.is_grad_enabled(), module.training
        now.encoder_seen = is_encoder
        self.see_autocast()
        if ids is not None:
            now.ids, now.mask = ids.detach(), mask.detach() if mask is not None else None
            facts.describe_input(now.batch, now.ids, now.mask, self.pad_id(now.ids), self.tokenizers.unknown_id())
        elif found := nested.tensors(given):
            now.batch.rows = int(found[0][1].shape[0]) if found[0][1].dim() else 0

    def pad_id(self, ids):
        return self.tokenizers.pad_id(ids, self.models.encoder)

    def encoder_gave(self, output):
        hidden = structure.last_hidden(output)
        if hidden is None:
            hidden = next((leaf for _, leaf in nested.tensors(output) if leaf.dim() == 3), None)
        if hidden is not None and self.open is not None:
            now = self.open
            now.hidden = hidden
            if now.starts is None:
                now.first_token = hidden[:, 0].detach()
            else:       # the script may have let the first tokens alone go on
                now.first_token = (hidden[0] if hidden.shape[1] == len(now.starts) else hidden[0, now.starts]).detach()

    def see_autocast(self):
        if self.record.autocast is None:
            for device in ("cuda", "cpu"):
                if torch.is_autocast_enabled(device):
                    self.record.autocast = str(torch.get_autocast_dtype(device)).removeprefix("torch.")

    # which passes train, and their end

    def trains(self, now):
        """A backward followed: this pass is training, and so are others on the same batch (two views of it)."""
        now.backward = True
        now.batch.role = "training"
        self.evaluation.trains(now)
        if self.loaders.stopping.training_over:
            self.record.batches = [batch for batch in self.record.batches if batch is not now.batch]
        for call in now.calls:
            self.models.trained[id(call.module)] = call.module
            if is_close(self.record):
                self.layers.note_training_flags(call.module)
        if now.iteration is not None:
            *before, this = self.past[-VIEWS - 1:]
            for past in before:
                if set(past.roots) & set(this.roots) and past.serial == now.serial:
                    past.batch.role = "training"

    def settle_crashed(self):
        """The pass in which a crash fell was training where gradients were asked for, and so was its loader."""
        now = self.open
        if now is None or now.backward or not now.batch.gradient_enabled or not now.batch.head_training:
            return
        now.batch.role = "training"
        for call in now.calls:
            self.models.trained[id(call.module)] = call.module
        if now.iteration is not None and self.loaders.training() is None:
            now.iteration.seen_loader.votes += 1

    def close(self):
        """The pass is over: keep what examples need and let go of its tensors."""
        now, self.open = self.open, None
        if now is None:
            return
        batch = now.batch
        if batch.rows == 0 and batch.labels is not None:
            batch.rows = len(batch.labels)
        labels = batch.labels if batch.labels is not None and len(batch.labels) == batch.rows else []
        ids = facts.strip_padding(now.ids, self.pad_id(now.ids)) if now.ids is not None else []
        batch.drawn = [self.numbers.setdefault(hash(tuple(row)), len(self.numbers)) for row in ids]
        if batch.role != "training" or not self.loaders.stopping.training_over:
            self.samples.append(Sample(batch, ids, labels))
            del self.samples[:-MOST_BATCHES]
        if now.iteration is not None:
            now.iteration.seen_loader.keep_pass(now.recent, now.ids, now.target)
        if now.first_token is not None and batch.role == "training":
            if self.first_tokens[0] is None:
                self.first_tokens[0] = now.first_token
            self.first_tokens[1] = now.first_token

    def samples_of(self, role):
        kept = self.of_trained_model()
        return [sample for sample in self.samples if sample.batch.role == role and id(sample.batch) in kept]

    def batches_of_trained_model(self):
        """The batches of the record, without those of validation passes through other models."""
        kept = self.of_trained_model()
        return [batch for batch in self.record.batches if id(batch) in kept]

    def of_trained_model(self):
        """ids of the batches that went through the trained model."""
        trained = set(self.models.trained)
        return {id(past.batch) for past in self.past if past.batch.role == "training" or not trained or not past.roots
                or trained & set(past.roots)}


def heeds_mode(module):
    """Whether training mode may change what a module computes."""
    return not all(type(each) in MODELESS for each in module.modules())
