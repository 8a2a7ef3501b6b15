"""The losses of a watched script: those of torch.nn.functional as they are called, others from their graph."""

import inspect

import torch

from diagnosis.observe.guard import quietly
from diagnosis.observe.limits import is_close
from diagnosis.observe.passes import LossCall
from diagnosis.record import facts, graph, nested, source

MOST_LOGITS = 100_000   # of a batch that are written down
LABEL_WORDS = ("label", "target", "y", "class")


class Losses:
    """Writes the loss's facts into the batch of the pass going on."""

    def __init__(self, guard, record, passes, parameters):
        self.guard, self.record, self.passes, self.parameters = guard, record, passes, parameters

    @quietly
    def loss_begins(self, name, function, args, kwargs):
        """A loss function is called: its facts are written down before it runs, so that a crash in it is explained."""
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        logits, now = given.get("input"), self.passes.open
        if not isinstance(logits, torch.Tensor):
            return None
        if now is not None and now.backward:
            if self.passes.is_on_latest_batch(now) and not torch.is_grad_enabled():
                return None             # a figure about the batch that has been learned from
            now = None
        now = now or self.passes.begin()
        call = LossCall(name, function, given, site=source.site(), inside=self.passes.inside_module)
        call.input_value = logits.detach()
        now.losses.append(call)
        describe(now, call)
        return call

    @quietly
    def loss_ends(self, call, result):
        call.result = result
        batch = self.passes.open.batch if self.passes.open is not None else None
        if batch is not None and isinstance(result, torch.Tensor) and batch.loss_function == call.name:
            batch.loss = float(result.detach().float().mean())

    def backward_on(self, tensor):
        """Backward runs on this tensor: which loss it is, which way it points, what it depends on."""
        now = self.passes.open
        chosen = now.loss_behind(tensor)
        if chosen is not None and chosen is not now.losses[-1]:
            describe(now, chosen)
            now.batch.loss = float(chosen.result.detach().float().mean())
        if is_close(self.record):
            now.batch.loss_has_graph = graph.reaches(tensor, self.parameters.all())
            if chosen is not None and isinstance(chosen.result, torch.Tensor):
                now.batch.loss_sign = graph.sign_of(tensor, chosen.result)
        if chosen is None:
            describe_unnamed(now, tensor)


def describe(now, call):
    """Fill the pass's batch with what the arguments of a loss show."""
    batch, logits, target = now.batch, call.input_value, call.arguments.get("target")
    if call.site is not None:
        batch.site = call.site
    batch.loss_function = call.name
    batch.label_smoothing = float(call.arguments.get("label_smoothing") or 0.0)
    weights = call.arguments.get("weight")
    weights = call.arguments.get("pos_weight") if weights is None else weights
    batch.class_weights = weights.detach().flatten().tolist() if isinstance(weights, torch.Tensor) else []
    batch.last_operation = graph.last_operation(call.arguments["input"])
    batch.ignored = 0
    if logits.dim() <= 2:
        shown = logits.reshape(logits.shape[0], -1) if logits.dim() else logits.reshape(1, 1)
        batch.outputs = int(shown.shape[1])
        if shown.numel() <= MOST_LOGITS:
            batch.logits = shown.float().tolist()
        batch.rows = batch.rows or int(shown.shape[0])
    if isinstance(target, torch.Tensor):
        now.target = target.detach()
        batch.target = facts.describe_target(now.target)
        batch.labels = facts.describe_labels(target, int(logits.shape[0]) if logits.dim() else 1)
        ignore = call.arguments.get("ignore_index")
        if ignore is not None and batch.labels is not None and not target.is_floating_point():
            batch.ignored = batch.labels.count(ignore)


def describe_unnamed(now, tensor):
    """Logits and labels of a loss that no function of torch computed."""
    batch = now.batch
    batch.loss = float(tensor.detach().float().mean())
    outputs = nested.tensors(now.calls[-1].output) if now.calls else []
    logits = next((leaf for _, leaf in outputs if leaf.is_floating_point() and leaf.dim() == 2
                   and (not batch.rows or leaf.shape[0] == batch.rows)), None)
    if logits is None:
        return
    batch.rows, batch.outputs = int(logits.shape[0]), int(logits.shape[1])
    batch.logits, batch.last_operation = logits.detach().float().tolist(), graph.last_operation(logits)
    now.target = graph.target_in_graph(tensor, batch.rows, batch.outputs)
    if now.target is None:
        now.target = target_beside(now)
    if now.target is not None:
        batch.labels = facts.describe_labels(now.target, batch.rows)


def target_beside(now):
    """The labels among the arguments of the model's call or in the loader's latest batches; None where none are."""
    for values in [now.calls[-1].kwargs] + now.recent[::-1]:
        found = [(nested.key_of(path).lower(), leaf) for path, leaf in nested.tensors(values)
                 if leaf.dim() == 1 and leaf.shape[0] == now.batch.rows]
        found.sort(key=lambda named: not any(word in named[0] for word in LABEL_WORDS))
        if found:
            return found[0][1].detach()
    return None
