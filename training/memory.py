"""The machine's memory: how much there is, how a CPU keeps it, and which errors say that it was not enough."""

import contextlib
import ctypes
import os
from pathlib import Path

import torch

MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")    # of a container
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4   # glibc's numbers for mallopt(), from <malloc.h>
OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
                 "CUDNN_STATUS_ALLOC_FAILED")   # the CPU's allocator and CUDA's libraries have no exception of their own


def memory_bytes(limits=MEMORY_LIMITS):
    """Of the machine, or of the container where that has less; 8 GB where the system does not say."""
    if not hasattr(os, "sysconf"):
        return 8e9
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in limits:
        with contextlib.suppress(OSError, ValueError):      # no container, or "max"
            found.append(int(Path(path).read_text()))
    return min(found)


def keep_freed_memory():
    """On a CPU with glibc: keep what a step frees for the next one, instead of giving it back to the system.

    glibc maps blocks above 32 MB anew each time, the gradient of the word embeddings among them, and the system clears
    their pages: a tenth of a step.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):       # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)                      # blocks that the system maps one by one: none
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)    # free memory above which some is given back: never


def out_of_memory(error):
    """Does this error say that memory was not enough, of the host or of a device?"""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(words in str(error) for words in OUT_OF_MEMORY)
