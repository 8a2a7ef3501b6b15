"""What tensors and the autograd graph behind them tell: norms, signs, operations, the labels that a loss picked by."""

import re

import torch

GRAPH_NODES = 20_000    # of a graph that are walked through

# Of the whole process: taken when this file is imported, before the observer's patches stand in for it, so that the
# gradients asked for here are not observed as the script's.
UNWATCHED_GRADIENT = torch.autograd.grad

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
        found = [(tensor.coalesce().values() if tensor.is_sparse else tensor).float().norm() for tensor in tensors]
    return torch.stack([norm.to(found[0].device) for norm in found]).tolist()


def total(values):
    return sum(value * value for value in values) ** 0.5


def combine(norm, other):
    """The norm of two disjoint sets of numbers from the norm of each; None counts as an empty set, two as None."""
    known = [value for value in (norm, other) if value is not None]
    return total(known) if known else None


def cosine(tensors, others):
    """Of the angle between two lists of tensors, each list as one long vector; None where one is all zero or not
    finite."""
    tensors, others = zip(*((one.to_dense() if one.is_sparse else one, other) for one, other in zip(tensors, others)))
    lengths = total(norms(list(tensors))) * total(norms(list(others)))
    if not 0 < lengths < float("inf"):
        return None
    products = [torch.dot(one.float().flatten(), other.float().flatten()) for one, other in zip(tensors, others)]
    return float(torch.stack([product.to(products[0].device) for product in products]).sum()) / lengths


def sign_of(tensor, loss):
    """+1 or -1: which way the tensor that backward runs on moves with the loss; 0: it does not depend on it."""
    if not (tensor.requires_grad and loss.requires_grad):
        return 0 if tensor.requires_grad else None
    if tensor is loss:
        return 1
    with torch.enable_grad():
        gradient, = UNWATCHED_GRADIENT(tensor.sum(), loss, retain_graph=True, allow_unused=True)
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
        following = [before for before, _ in node.next_functions if before is not None]
        if name in NOT_OPERATIONS or (name in ("mul", "div") and len(following) == 1):
            node = following[0] if following else None      # temperature and the like
        elif name == "add" and any("Mm" in before.name() or "UnsafeView" in before.name() for before in following):
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
            for value in saved if isinstance(saved, (list, tuple)) else [saved]:
                if isinstance(value, torch.Tensor) and is_target(value, rows, outputs):
                    return value.detach().reshape(-1) if value.numel() == rows else value.detach()
        todo.extend(following for following, _ in node.next_functions)
    return None


def is_target(saved, rows, outputs):
    """Class ids of the rows (other than their numbers 0, 1, 2 ...), or a table with a single one in each row."""
    if saved.requires_grad or saved.dtype == torch.bool or saved.dim() == 0:
        return False
    if saved.numel() == rows and not saved.is_floating_point():
        return int(saved.min()) >= 0 and int(saved.max()) < outputs and not torch.equal(
            saved.reshape(-1), torch.arange(rows, device=saved.device))
    return (tuple(saved.shape) == (rows, outputs) and outputs > 1 and bool(((saved == 0) | (saved == 1)).all())
            and bool((saved.sum(1) == 1).all()))


def is_dropout(node):
    """Multiplied by a mask of zeros and one other value."""
    other = getattr(node, "_saved_other", None)
    if not isinstance(other, torch.Tensor) or other.dim() < 2 or other.requires_grad:
        return False
    values = torch.unique(other)
    return len(values) == 2 and float(values[0]) == 0.0 and float(values[1]) > 1.0


def reaches(tensor, parameters):
    """Does the graph behind a tensor lead to one of these parameters? None where it is too large to be walked."""
    mine = {id(parameter) for parameter in parameters}
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
