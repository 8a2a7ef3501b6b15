"""What every control is given and may answer: the live objects it copies, its limits of certainty, "not measured"."""

import math
from dataclasses import dataclass, field
from typing import Callable

import torch

from diagnosis.record.arithmetic import rounded

SEED = 0
YES, NO = 3.0, 2.0          # distance from the permuted runs, in their spreads: from YES on signal, below NO none,
                            # between them undecided (one in fifty where there is no signal)


@dataclass
class Live:
    """The live objects of an observed script that the controls copy. None of them is changed."""
    model: torch.nn.Module              # the outermost model of the script
    forward: Callable                   # forward(model copy) -> (logits, labels, loss): one recorded training batch
    batch_size: int                     # rows of that batch as the script made it
    optimizer: torch.optim.Optimizer | None = None      # the script's, as it stands
    rates: list[list[float]] = field(default_factory=list)      # of its groups at each of the plan's first ~60 steps
    initial_state: dict | None = None   # the model's state_dict before the first step, if it was kept
    replays: list[Callable] = field(default_factory=list)       # the same as forward for other training batches
    features: Callable = lambda: []     # () -> a row of the encoder's features for each of the first training examples
    in_order: Callable | None = None    # in_order(model copy, places of rows) -> (logits of these rows, None, None)


class NoMeasurement(Exception):
    """Why a control could not be made, in words for people, and what was measured all the same."""

    def __init__(self, reason, figures=None):
        super().__init__(reason)
        self.figures = figures or {}


def figure(value):
    """A measured number for a report, to four digits; None where there is none or it is not finite."""
    return rounded(float(value), 4) if value is not None and math.isfinite(value) else None
