"""What a run sets for its whole process: TF32, products on a CPU, deterministic kernels, the allocator."""

import contextlib
import os

import torch

from training.encoder.processor import multiply_quickly
from training.memory import keep_freed_memory


def compute_quickly():
    """Products and memory as a run has them."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")      # TF32, in whatever stays float32
    else:
        multiply_quickly()
        keep_freed_memory()


@contextlib.contextmanager
def process_set_up(deterministic):
    """torch as a run wants it, and as it was before behind it. What glibc is told about memory stays."""
    products = torch.get_float32_matmul_precision()
    kernels = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")     # read when CUDA starts
        torch.use_deterministic_algorithms(True)
    compute_quickly()
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.use_deterministic_algorithms(kernels[0], warn_only=kernels[1])
