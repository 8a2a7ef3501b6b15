"""What the head is given of a text: the pooler's output, the first token's state, or the mean over the tokens."""

import json
from pathlib import Path

import torch

from training.encoder.finding import EncoderError, quiet_transformers

POOLINGS = ("auto", "cls", "pooler", "mean")


def choose_pooling(wanted, encoder, source=None):
    """(cls, pooler or mean; why), for one of POOLINGS and an encoder, with the EncoderSource that it was loaded from.

    auto is what the checkpoint was trained with: what sentence-transformers' files beside it say, else its pooler, else
    the first token, with which RoBERTa, ELECTRA and DistilBERT were published.

    Raises:
        EncoderError: the pooler is asked for, and the checkpoint has none.
    """
    trained = getattr(encoder, "pooler", None) is not None
    if wanted == "pooler" and not trained:
        name = getattr(source, "name", type(encoder).__name__)
        raise EncoderError(f"POOLING is pooler, and the checkpoint {name} has none that was trained; it can be cls, mean "
                           "or auto")
    if wanted != "auto":
        return wanted, "by name"
    own = own_pooling(source) if source else None
    if own in ("cls", "mean"):
        return own, "as the checkpoint's own files say"
    if source and source.is_fallback:
        return "mean", "with which the embedded encoder was trained"
    if trained:
        return "pooler", "the checkpoint has a trained one"
    return "cls", "the checkpoint has no trained pooler"


def own_pooling(source):
    """The pooling that sentence-transformers' files beside a checkpoint name, in its older or newer way, or None."""
    for module in _read_json(source, "modules.json") or []:
        if module.get("type", "").endswith("Pooling"):
            config = _read_json(source, f"{module.get('path') or '.'}/config.json") or {}
            older = [name.removeprefix("pooling_mode_").removesuffix("_token").removesuffix("_tokens")
                     for name, on in config.items() if name.startswith("pooling_mode_") and on is True]
            return config.get("pooling_mode", older[0] if len(older) == 1 else None)
    return None


def _read_json(source, name):
    from transformers.utils import cached_file      # here: a second of start-up
    try:
        with quiet_transformers():
            path = cached_file(source.path, name, _raise_exceptions_for_missing_entries=False,
                               _raise_exceptions_for_connection_errors=False)
        return json.loads(Path(path).read_text("utf-8")) if path else None
    except (OSError, ValueError):       # no such file, or none that can be read: the checkpoint says nothing
        return None


def mean_of_rows(states, mask):
    """The mean [texts, width] over the tokens of padded states [texts, positions, width] with their mask."""
    mask = mask[:, :, None].to(states.dtype)
    return (states * mask).sum(dim=1) / mask.sum(dim=1)


def mean_end_to_end(states, layout):
    """The same of states [row, width] in the row of a layout (end_to_end.py), whose filling no text counts.

    As a product of matrices: unlike adding by index it gives the same bits each time on a GPU too.
    """
    places = torch.arange(len(states), device=states.device)
    own = (places >= layout.starts[:, None]) & (places < (layout.starts + layout.lengths)[:, None])
    return (own / layout.lengths[:, None]).to(states.dtype) @ states
