"""What a forward pass computes in, and why: mixed precision where the device is good at it."""

import math
import time
from dataclasses import dataclass

import torch
from torch.nn.functional import linear

BFLOAT16_PAYS = 1.3     # times as fast as float32's products: with less, autocast's casts eat the gain
PRODUCT = (256, 384)    # tokens of a few texts, and the width of a small encoder's layer, whose product is timed
PRODUCT_TRIES = 5       # of which the fastest counts; the first ones make all ready


@dataclass
class Precision:
    """What the forward pass computes in, and why."""
    device: torch.device
    dtype: torch.dtype | None       # of autocast; None: everything in float32
    name: str                       # fp32, fp16 or bf16
    reason: str = ""

    def autocast(self):
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def scaler(self):
        """Lifts small fp16 gradients out of the range where they would round to zero; bfloat16 has float32's range."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)


def choose_precision(enable_fp16, begun=None):
    """Mixed precision if it is asked for: fp16 on CUDA, on a CPU bfloat16 where a timed product says that it pays.

    Args:
        begun: the name of the precision in which a run that goes on was begun, if there is one. A CPU's is kept,
            whatever the clock says this time, unless bfloat16 has become slower than float32.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not enable_fp16:
        return Precision(device, None, "fp32", "ENABLE_FP16 is off")
    if device.type == "cuda":
        return Precision(device, torch.float16, "fp16", "autocast with a gradient scaler; weights stay fp32")
    gain = bfloat16_gain()
    pays = gain >= {"bf16": 1.0, "fp32": math.inf}.get(begun, BFLOAT16_PAYS)
    reason = f"bfloat16 products are {gain:.2g} times as fast as float32 ones here"
    if pays != (gain >= BFLOAT16_PAYS):
        reason += "; kept as the run was begun"
    if not pays:
        return Precision(device, None, "fp32", reason)
    return Precision(device, torch.bfloat16, "bf16", f"autocast, weights stay fp32; {reason}")


def bfloat16_gain():
    """How many times as fast this CPU computes a linear layer in bfloat16 as in float32: timed, some milliseconds."""
    tokens, width = PRODUCT
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), math.inf)
    for _ in range(PRODUCT_TRIES):      # in turns: other work on the machine meets both
        for dtype in seconds:
            states, weight = torch.ones(tokens, width, dtype=dtype), torch.ones(width, width, dtype=dtype)
            began = time.perf_counter()
            linear(states, weight)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - began)
    return seconds[torch.float32] / seconds[torch.bfloat16]
