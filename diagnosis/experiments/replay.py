"""One recorded training batch, to be run again through copies of the model and the script's own loss."""

import dataclasses
import inspect

import torch
from torch import nn

from diagnosis.record import nested

ROWS = 8        # of a recorded batch are kept: enough to be learned by heart, few enough to repeat often

BETWEEN = {     # what scripts do between a model's output and the loss
    "nothing": lambda leaf: leaf, "squeeze": lambda leaf: leaf.squeeze(-1), "squeeze all": torch.squeeze,
    "float": lambda leaf: leaf.float(), "float squeeze": lambda leaf: leaf.float().squeeze(-1),
    "softmax": lambda leaf: leaf.softmax(-1), "log_softmax": lambda leaf: leaf.log_softmax(-1),
    "sigmoid": torch.sigmoid, "sigmoid squeeze": lambda leaf: leaf.sigmoid().squeeze(-1), "relu": torch.relu,
    "tanh": torch.tanh, "argmax": lambda leaf: leaf.argmax(-1), "argmax float": lambda leaf: leaf.argmax(-1).float(),
    "max": lambda leaf: leaf.max(-1).values, "first": lambda leaf: leaf[:, 0], "second": lambda leaf: leaf[:, 1],
    "log": lambda leaf: torch.log(leaf), "log softmax": lambda leaf: torch.log(leaf.softmax(-1) + 1e-9),
    "softmax over rows": lambda leaf: leaf.softmax(0), "log_softmax over rows": lambda leaf: leaf.log_softmax(0)}

POOLING = (lambda leaf: leaf, lambda leaf: leaf[:, 0], lambda leaf: leaf.mean(1), lambda leaf: leaf[:, -1],
           lambda leaf: leaf.max(1).values, lambda leaf: leaf.detach(), lambda leaf: leaf[-1],
           lambda leaf: torch.cat([leaf[-2], leaf[-1]], -1), lambda leaf: leaf.transpose(0, 1),
           lambda leaf: viewed_as_transposed(leaf), lambda leaf: viewed_as_transposed(leaf)[0],
           lambda leaf: viewed_as_transposed(leaf)[-1], lambda leaf: viewed_as_transposed(leaf).mean(0))


def viewed_as_transposed(leaf):
    """A mistake of scripts: rows x width x size read as width x rows x size, so that rows run into one another."""
    return leaf.reshape(leaf.shape[1], leaf.shape[0], leaf.shape[2])


def make(now, tensor):
    """(outermost modules of a pass on which backward ran, forward(modules, order) -> (logits, labels, loss)); None
    where the pass cannot be repeated. order: places of the kept rows, each any number of times; with one the logits
    alone are given, without labels and loss."""
    if not now.calls or now.batch.rows < 2:
        return None
    rows = now.batch.rows
    run = chain(now.calls, rows)
    if run is None:
        return None
    modules, output = [call[0] for call in now.calls], now.calls[-1][3]
    chosen = next((call for call in now.losses if call.result is tensor), now.losses[-1] if now.losses else None)
    if chosen is not None and not chosen.inside:
        way = way_to_logits(output, chosen.arguments["input"].detach())
        return (modules, of_outside_loss(run, *way, chosen, rows)) if way else None
    path = next((path for path, leaf in nested.tensors(output) if leaf.is_floating_point() and leaf.dim() == 2
                 and leaf.shape[0] == rows), None)
    if path is None or now.target is None:
        return None
    loss_path = next((path for path, leaf in nested.tensors(output) if leaf.dim() == 0), None)
    labels = cut(now.target.reshape(-1) if now.target.numel() == rows else now.target, rows)
    return modules, of_inside_loss(run, path, labels, loss_path)


def for_model(made, model):
    """forward(copy of the model, order) from what `make` gave: the model is one of its modules or a container of them."""
    modules, forward = made
    if len(modules) == 1 and modules[0] is model:
        return lambda copied, order=None: forward([copied], order)
    places = {id(child): place for place, child in enumerate(model.children())}
    if not all(id(module) in places for module in modules):
        return None
    order = [places[id(module)] for module in modules]
    return lambda copied, rows=None: forward([list(copied.children())[place] for place in order], rows)


def chain(calls, rows):
    """modules -> output of the last one: the calls one after the other, each fed with what the ones before it gave."""
    steps = []
    for place, (module, args, kwargs, _) in enumerate(calls):
        kwargs, feeds = without_layouts(module, kwargs), []
        for path, leaf in nested.tensors((args, kwargs)):
            if place and leaf.is_floating_point():
                ways = ((source, way_between(calls[source][3], leaf.detach())) for source in range(place))
                source, way = next(((source, way) for source, way in ways if way), (None, None))
                if way is None:
                    return None
                feeds.append((path, source, *way))
        steps.append((cut(tuple(args), rows), cut(dict(kwargs), rows), feeds))

    def run(modules, order=None):
        outputs = []
        for module, (args, kwargs, feeds) in zip(modules, steps):
            if order is not None:
                args, kwargs = in_order(args, order, min(ROWS, rows)), in_order(kwargs, order, min(ROWS, rows))
            args, kwargs = list(args), dict(kwargs)
            for ((_, kind), (_, key), *_), source, path, between in feeds:
                (args if kind == 0 else kwargs)[key] = between(nested.at(outputs[source], path))
            outputs.append(module(*args, **kwargs))
        return outputs[-1]
    return run


def without_layouts(module, kwargs):
    """Without what describes all rows of the batch at once, as where they stand in one long row: an object of the
    script's own, which cannot be cut to some rows, where the module does without it."""
    layouts = [name for name, value in kwargs.items()
               if dataclasses.is_dataclass(value) and not hasattr(value, "items")]
    if not layouts:
        return kwargs
    parameters = inspect.signature(module.forward).parameters
    return {name: value for name, value in kwargs.items()
            if name not in layouts or name not in parameters or parameters[name].default is not None}


def way_between(output, wanted):
    """(path, function) from one module's output to the next one's input."""
    return first_way(nested.tensors(output), POOLING, wanted, equal_nan=False)


def way_to_logits(output, wanted):
    """(path, function) that lead from a model's output to the loss's input; None where none of the usual does."""
    numbers = ((path, leaf) for path, leaf in nested.tensors(output) if leaf.is_floating_point())
    return first_way(numbers, BETWEEN.values(), wanted, equal_nan=True)


def first_way(leaves, functions, wanted, equal_nan):
    """(path, function) of the first leaf that one of the functions turns into what is wanted; None without any."""
    for path, leaf in leaves:
        for function in functions:
            try:
                found = function(leaf.detach())
            except (RuntimeError, IndexError):
                continue
            if found.shape == wanted.shape and torch.allclose(found.float(), wanted.float(), atol=1e-5,
                                                              equal_nan=equal_nan):
                return path, function
    return None


def cut(value, batch_size):
    """A copy of nested arguments with every tensor of batch_size rows cut to its first ROWS."""
    return first_rows(nested.copied(value), ROWS, batch_size)


def first_rows(value, rows, batch_size):
    """The same nested arguments with every tensor whose first dimension is batch_size cut to its first rows."""
    if isinstance(value, torch.Tensor):
        return value[:rows] if value.dim() and value.shape[0] == batch_size else value
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(first_rows(part, rows, batch_size) for part in value)
    if hasattr(value, "items"):
        return {name: first_rows(part, rows, batch_size) for name, part in value.items()}
    return value


def in_order(value, order, rows):
    """The same nested arguments with the rows of every tensor of so many rows in that order."""
    if isinstance(value, torch.Tensor):
        return value[order] if value.dim() and value.shape[0] == rows else value
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(in_order(part, order, rows) for part in value)
    if hasattr(value, "items"):
        return {name: in_order(part, order, rows) for name, part in value.items()}
    return value


def of_outside_loss(run, path, between, chosen, rows):
    given = {name: value for name, value in chosen.arguments.items() if name not in ("input", "target")}
    given = {name: first_rows(value, ROWS, rows) if name == "weight" and chosen.name.startswith("binary") else value
             for name, value in given.items()}
    target = cut(chosen.arguments["target"], rows)
    labels = target.argmax(-1) if target.dim() == 2 and target.shape[1] > 1 else target.reshape(-1)

    def forward(modules, order=None):
        logits = between(nested.at(run(modules, order), path))
        if order is not None:
            return logits, None, None
        loss = chosen.function(input=logits, target=target, **given)
        return logits, labels, loss.mean() if loss.dim() else loss
    return forward


def of_inside_loss(run, path, labels, loss_path):
    def forward(modules, order=None):
        output = run(modules, order)
        logits = nested.at(output, path)
        if order is not None:
            return logits, None, None
        if loss_path is not None:
            return logits, labels, nested.at(output, loss_path)
        return logits, labels, nn.functional.cross_entropy(logits.float(), labels.long())
    return forward
