"""What tensors and the autograd graph behind them tell: norms, signs, operations, the labels that a loss picked by."""

import re

import torch

GRAPH_NODES = 20_000    # of a graph that are walked through
GRADIENT = torch.autograd.grad          # as it was before patches.py replaced it

NOT_OPERATIONS = {"view", "unsafeview", "squeeze", "unsqueeze", "select", "slice", "index", "clone", "tocopy", "alias",
                  "t", "transpose", "permute", "expand", "asstrided", "reshapealias", "indexselect", "gather", "split",
                  "contiguous", "copyslices", "cat", "stack", "unbind", "splitwithsizes"}
OPERATION_NAMES = {"addmm": "linear", "mm": "linear", "bmm": "linear", "linear": "linear", "nativedropout": "dropout",
                   "logsoftmax": "log_softmax", "clampmin": "clamp"}


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


def sign_of(tensor, loss):
    """+1 or -1: which way the tensor that backward runs on moves with the loss; 0: it does not depend on it."""
    if not (tensor.requires_grad and loss.requires_grad):
        return 0 if tensor.requires_grad else None
    if tensor is loss:
        return 1
    with torch.enable_grad():
        gradient, = GRADIENT(tensor.sum(), loss, retain_graph=True, allow_unused=True)
    if gradient is None:
        return 0
    slope = float(gradient.sum())
    return (slope > 0) - (slope < 0) if slope == slope else None


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


def reaches(tensor, parameters):
    """Does the graph behind a tensor lead to one of these parameters? None where it is too large to be walked."""
    mine = {id(one) for one in parameters}
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
