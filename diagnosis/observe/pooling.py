"""What position of the encoder's output the head reads, told from the gradient between the two."""

import torch

from diagnosis.record import facts, graph, nested

MOST_OF_A_ROW = 0.3     # of its gradient that one position must have to be called the one that is read


def describe(now, pad_id):
    """Fill the batch of a training pass, its graph still whole, with where its padded rows are read."""
    logits = logits_of(now)
    if logits is None or now.ids is None or now.hidden is None or now.hidden.shape[:2] != now.ids.shape:
        return
    padding = facts.padding_of(now.ids, pad_id)
    shown = facts.mask_as_shown(now.mask, now.ids.shape) if now.mask is not None else None
    if shown is not None:
        padding &= ~shown.to(padding.device)
    if not bool(padding.any()):
        return
    position = read_positions(now.hidden, logits)
    if position is None:
        return
    known = padding.any(1) & (position >= 0)
    at_padding = padding.gather(1, position.clamp(min=0)[:, None])[:, 0]
    now.batch.padded_rows, now.batch.read_at_padding = int(known.sum()), int((known & at_padding).sum())


def logits_of(now):
    """The live logits of a pass, rows x outputs; None where there are none with a graph."""
    loss_inputs = [call.arguments.get("input") for call in now.losses]
    outputs = [leaf for _, leaf in nested.tensors(now.calls[-1].output)] if now.calls else []
    return next((each for each in loss_inputs + outputs if isinstance(each, torch.Tensor) and each.requires_grad
                 and each.dim() in (1, 2) and each.is_floating_point()), None)


def read_positions(hidden, logits):
    """For each row the position of the encoder's output that its logits depend on most, -1 where they depend on many.

    hidden  rows x width x size; None is given where the logits do not depend on it, or it has no graph
    """
    if not hidden.requires_grad:
        return None
    with torch.enable_grad():
        outputs = logits.reshape(len(logits), -1)
        weights = torch.cos(torch.arange(outputs.shape[1], device=logits.device, dtype=logits.dtype))
        gradient, = graph.UNWATCHED_GRADIENT((outputs * weights).sum(), hidden, retain_graph=True, allow_unused=True)
    if gradient is None:
        return None
    strength = gradient.detach().float().norm(dim=2)
    largest, position = strength.max(1)
    clear = (largest >= MOST_OF_A_ROW * strength.sum(1)) & (largest > 0)
    return torch.where(clear, position, torch.full_like(position, -1))
