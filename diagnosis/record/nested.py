"""Nested batches and model outputs: their leaves, and the way to each of them."""

import dataclasses
from collections.abc import Mapping

import torch

DEEPEST = 5     # levels of nesting that are looked through


def leaves(value, path=()):
    """(path, leaf) for every tensor, array, text, number, or list of texts or numbers in a nested value."""
    if len(path) > DEEPEST or value is None:
        return
    if isinstance(value, Mapping) or (hasattr(value, "keys") and hasattr(value, "__getitem__")):
        for key in list(value.keys()):
            yield from leaves(value[key], path + (("item", key),))
    elif isinstance(value, (list, tuple)):
        if value and all(isinstance(item, (str, int, float)) for item in value):
            yield path, list(value)
        else:
            for index, item in enumerate(value):
                yield from leaves(item, path + (("item", index),))
    elif isinstance(value, (torch.Tensor, str, int, float)) or hasattr(value, "__array__"):
        yield path, value
    elif dataclasses.is_dataclass(value) or type(value).__module__ == "__main__":
        for name, item in vars(value).items():
            yield from leaves(item, path + (("attribute", name),))


def at(value, path):
    """The leaf that a path of `leaves` leads to; KeyError, IndexError, TypeError or AttributeError where none is."""
    for kind, key in path:
        value = value[key] if kind == "item" else getattr(value, key)
    return value


def key_of(path):
    """The last name on a path, as text; '' for a bare value."""
    return str(path[-1][1]) if path else ""


def tensors(value):
    """(path, tensor) for the tensors among the leaves."""
    return [(path, leaf) for path, leaf in leaves(value) if isinstance(leaf, torch.Tensor)]


def as_tensor(leaf):
    """A leaf of numbers as a tensor on the CPU; None for texts and the like."""
    if isinstance(leaf, torch.Tensor):
        return leaf.detach().cpu()
    try:
        return torch.as_tensor(leaf)
    except (TypeError, ValueError, RuntimeError):
        return None


def outer_copy(value):
    """The same batch in a dictionary or list of its own: scripts pop the labels out of theirs."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, list) else value


def copied(value):
    """The same nested value with its tensors detached and copied; everything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(copied(item) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(copied(item) for item in value)
    if isinstance(value, Mapping):
        return {name: copied(item) for name, item in value.items()}
    return value
