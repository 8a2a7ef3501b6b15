"""What makes training on a CPU faster without changing what is learned: dropout, attention, products."""

import contextlib
import platform
from pathlib import Path

import torch
from torch import nn

SCORES_AT_ONCE = 2**18              # of attention on a CPU: 1 MB
PRODUCT_ROUNDING = 1e-5             # relative; float32 stays below 1e-6, bfloat16 has some 2e-3


def attend_on_cpu(query, key, value, attn_mask, dropout_p, scale):
    """torch's scaled_dot_product_attention of [heads, texts, width, size], with dropout drawn as below.

    A few heads at a time: what one operation writes is in the processor's cache for the next.
    """
    heads, texts, width, size = query.shape
    at_once = min(heads, max(1, SCORES_AT_ONCE // (texts * width ** 2)))
    bias = query.new_zeros(1, texts, 1, width)
    if attn_mask is not None:
        bias.masked_fill_(~attn_mask, -torch.inf)
    bias = bias.expand(at_once, texts, width, width).flatten(0, 1)
    attended = []
    parts = (states.flatten(0, 1).split(at_once * texts) for states in (query, key, value))
    for queries, keys, values in zip(*parts):
        scores = torch.baddbmm(bias[:len(queries)], queries, keys.transpose(1, 2), alpha=scale or size ** -0.5)
        weights = scores.softmax(dim=-1)
        attended.append(weights * dropout_noise(weights, dropout_p) @ values)
    return torch.cat(attended).unflatten(0, (heads, texts))


def dropout_noise(states, probability):
    """What dropout multiplies states on a CPU with: 0 with this probability, else what keeps the mean.

    torch draws a number for each state, in one thread whatever the number of cores: a tenth of a training step. Here
    each draw serves four states with 16 bits each, so that 0.1 becomes 6,554 of 65,536.
    """
    bits = torch.empty((states.numel() + 3) // 4, dtype=torch.int64).random_(-2**63, None).view(torch.int16)
    dropped = round(probability * 2**16)
    noise = torch.empty(states.shape, dtype=states.dtype)
    torch.ge(bits[:states.numel()].view(states.shape), dropped - 2**15, out=noise)      # far slower by way of a bool
    return noise.mul_(2**16 / (2**16 - dropped))


class QuickDropout(nn.Dropout):
    """torch's dropout, drawn as above on a CPU."""

    def forward(self, states):
        if not self.training or not self.p or states.device.type != "cpu":
            return super().forward(states)
        return states * dropout_noise(states, self.p)


def draw_dropout_quickly(model):
    """Put QuickDropout in the place of each nn.Dropout."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, QuickDropout(child.p))


def multiply_quickly():
    """On an AMD processor: have oneDNN multiply float32 matrices instead of MKL, torch's default; a step is 6 % shorter.

    torch offers that only together with leave to round the factors to bfloat16, of which oneDNN makes use on processors
    with units for it. A product tells; where it is not as exact as float32 all stays as it was.
    """
    if "AuthenticAMD" not in processor_features():
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=draw) for _ in range(2))
    exact = left.double() @ right.double()
    if (left @ right - exact).norm() > PRODUCT_ROUNDING * exact.norm():
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def full_precision():
    """float32 products as exact as they can be, whatever the process is set to."""
    products = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)


def processor_features():
    """What the system says of its processor, maker and features."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()


def processor_name():
    """The processor's name; Python knows it on few systems, Linux tells it in a file."""
    lines = processor_features().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
                platform.processor() or platform.machine())
