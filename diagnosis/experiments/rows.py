"""Control on the model: does it treat each row of a batch for itself?"""

import torch

from diagnosis.experiments.live import NoMeasurement, figure
from diagnosis.experiments.replay import ROWS
from diagnosis.experiments.training import copy_of

MOVED = 0.02        # of the logits' range over rows and outputs; rounding gives some 1e-6 of it


@torch.no_grad()
def rows_apart(live, record, stop, done):
    """Each row's logits in its own batch and beside others: the halves of the batch, each beside its own copy."""
    rows = min(ROWS, live.batch_size or ROWS) // 2 * 2
    if live.in_order is None or rows < 4:
        raise NoMeasurement("no training batch of four rows and more can be run again in another order")
    model = copy_of(live).eval()
    if any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.running_mean is None
           for module in model.modules()):
        raise NoMeasurement("a BatchNorm without running statistics depends on its batch by design")
    whole = logits_of(live, model, range(rows))
    again = logits_of(live, model, range(rows))
    spread = float(whole.max() - whole.min())
    if not spread > 0 or not bool(torch.isfinite(whole).all()):
        raise NoMeasurement("the logits are all the same, or not finite")
    if float((again - whole).abs().max()) > 1e-3 * spread:
        raise NoMeasurement("the same rows give different outputs in evaluation mode", {
            "rows": rows, "difference": figure(float((again - whole).abs().max())), "range_of_logits": figure(spread)})
    moved = 0.0
    for half in (range(rows // 2), range(rows // 2, rows)):
        order = [*half, *half]
        moved = max(moved, float((logits_of(live, model, order) - whole[order]).abs().max()) / spread)
    return moved < MOVED, {"rows": rows, "largest_change": figure(moved), "range_of_logits": figure(spread)}


def logits_of(live, model, order):
    """rows x outputs, in float32.

    Raises:
        NoMeasurement: the model does not give one row of outputs per row.
    """
    logits = live.in_order(model, list(order))[0]
    if not isinstance(logits, torch.Tensor) or not logits.dim() or len(logits) != len(order):
        raise NoMeasurement("the model gives no row of outputs per row")
    return logits.float().reshape(len(order), -1)
