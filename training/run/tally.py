"""What an epoch sums up, and the flags that tell of numbers gone wrong without making a device wait."""

from collections import deque
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

MOST_SKIPPED = 20       # steps in a row that the scaler may skip; it halves its factor each time
LATE = 8                # flags on their way from the device, two a step, before the oldest is looked at


@dataclass
class Tally:
    """What an epoch has summed up so far; saved with the state, so that a resumed epoch ends with the same figures."""
    sums: torch.Tensor          # of the loss and the right predictions, on the device, float64
    batches: int = 0
    rows: int = 0
    tokens: int = 0
    positions: int = 0          # computed by the encoder outside attention, padding included
    rate: float = 0.0           # of the last step
    skipped: int = 0            # steps that the scaler skipped
    skipped_in_a_row: int = 0   # up to the last step, those of the epochs before among them
    seconds: float = 0.0

    @torch.no_grad()
    def add(self, logits, labels, lengths, positions):
        """A batch's rows: logits [rows, classes] and labels [rows] on the device, lengths [rows] on the CPU."""
        self.sums += torch.stack([cross_entropy(logits, labels, reduction="sum"),
                                  (logits.argmax(dim=1) == labels).sum()])
        self.batches += 1
        self.rows += len(labels)
        self.tokens += int(lengths.sum())
        self.positions += positions


def new_tally(device, skipped_in_a_row=0):
    return Tally(torch.zeros(2, dtype=torch.float64, device=device), skipped_in_a_row=skipped_in_a_row)


class NumbersGoneWrong(Exception):
    """A loss or gradient that no later step can mend; the message says what and at which step of the epoch."""

    def __init__(self, what, rows=(), validating=False):
        super().__init__(what)
        self.rows, self.validating = list(rows), validating     # numbers of the training rows in the batches of that
                                                                # step, or of the validation rows that it was about


class Watch:
    """Fetches booleans from the device while it works on: each is looked at LATE flags later, when it has long arrived,
    so that the host never waits. A CPU's are looked at at once."""

    def __init__(self):
        self.on_their_way = deque()

    def note(self, flag, then):
        """then(flag) is called once the flag, a boolean tensor, is known."""
        if flag.device.type != "cuda":
            then(bool(flag))
            return
        host = torch.empty_like(flag, device="cpu", pin_memory=True).copy_(flag, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self.on_their_way.append((arrived, host, then))
        self.look(LATE)

    def look(self, left=0):
        """Look at the flags until so many are left; at all of them before anything is saved."""
        while len(self.on_their_way) > left:
            arrived, host, then = self.on_their_way.popleft()
            arrived.synchronize()
            then(bool(host))


def raise_unless_finite(finite, what, rows):
    if not finite:
        raise NumbersGoneWrong(what, rows)


def judge_gradient(finite, scaler, tally, step, rows):
    """Note whether a step was skipped: with fp16 an infinite gradient is the scaler's everyday business.

    Raises:
        NumbersGoneWrong: without a scaler a gradient is not finite; with one, it has skipped too many steps in a row.
    """
    if not scaler.is_enabled():
        raise_unless_finite(finite, f"a gradient is not finite at step {step:,} of the epoch", rows)
        return
    tally.skipped_in_a_row = 0 if finite else tally.skipped_in_a_row + 1
    tally.skipped += not finite
    if tally.skipped_in_a_row > MOST_SKIPPED:
        raise NumbersGoneWrong(
            f"the scaler has skipped {tally.skipped_in_a_row} steps in a row, up to step {step:,} of the epoch: the "
            "gradients overflow fp16 at every scale (ENABLE_FP16=False trains without)", rows)
