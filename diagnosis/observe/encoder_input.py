"""What reaches an encoder, told from the arguments of its forward: token ids, mask, texts end to end."""

import inspect

import torch

from diagnosis.record import nested

ID_NAMES = ("input_ids", "ids", "tokens")


def by_name(module, args, kwargs):
    """The arguments of a call by the names that the module's forward gives them."""
    given = dict(kwargs)
    try:
        signature = inspect.signature(getattr(module, "_orig_mod", module).forward)
        given = dict(signature.bind_partial(*args, **kwargs).arguments)
        for name in [each.name for each in signature.parameters.values() if each.kind == each.VAR_KEYWORD]:
            given |= given.pop(name, {}) or {}
    except (TypeError, ValueError):
        pass
    return given


def token_ids(given):
    """The token ids among nested arguments, rows x width; None where there are none."""
    tables = whole_numbers(given)
    ids = next((leaf for name, leaf in tables if name in ID_NAMES), None)
    if ids is None:
        ids = next((leaf for name, leaf in tables if "mask" not in name and "type" not in name), None)
    return ids


def mask_by_name(given):
    return next((leaf for path, leaf in nested.tensors(given) if "mask" in nested.key_of(path)), None)


def mask_by_form(given, ids):
    """A table of zeros and ones of the ids' form."""
    return next((leaf for _, leaf in whole_numbers(given) if leaf is not ids and leaf.shape == ids.shape
                 and bool(((leaf == 0) | (leaf == 1)).all())), None)


def whole_numbers(given):
    return [(nested.key_of(path), leaf) for path, leaf in nested.tensors(given)
            if leaf.dim() == 2 and not leaf.is_floating_point() and leaf.dtype != torch.bool]
