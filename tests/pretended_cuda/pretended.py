"""A CUDA device that is not there, for processes started with environment(): torch has a cuda:0 there. See README.md.

    subprocess.run([sys.executable, "-m", "pytest", "-m", "cuda"], env=pretended.environment())
    python tests/pretended_cuda/pretended.py BERT_main_aggressive.py        by hand: Python on what follows

In such a process waits() says what made the host wait for the device, and memory() gives the device less of it.
"""

import contextlib
import ctypes
import getpass
import hashlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
VARIABLE = "PRETENDED_CUDA"     # names the library, in the environment of a process that is to have the device
WRITTEN_FOR = "2.13."           # torch's version, on whose internals device.cpp rests
library = None                  # loaded in this process


class CannotPretend(Exception):
    """The device cannot be had here; the message says why."""


# In the process that starts others

def build():
    """The path of the library, built once on this machine for each version of torch and of the source.

    Raises:
        CannotPretend: no compiler, no headers, another version of torch, or a build of it that has CUDA.
    """
    found = importlib.util.find_spec("torch")
    version = importlib.metadata.version("torch")
    torch_folder = Path(found.origin).parent
    if not version.startswith(WRITTEN_FOR):
        raise CannotPretend(f"the pretended CUDA device is written for torch {WRITTEN_FOR}x, and this is {version}")
    if (torch_folder / "lib" / "libtorch_cuda.so").exists():
        raise CannotPretend("this torch has CUDA itself, and no other can be put in its place")
    source = HERE / "device.cpp"
    digest = hashlib.sha256(source.read_bytes() + str(torch_folder).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"pretended-cuda-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{version}-{digest}.so"
    from filelock import FileLock
    with FileLock(folder / "lock"):         # several test processes want it at once
        if not path.exists():
            compile_library(source, torch_folder, path)
    return path


def compile_library(source, torch_folder, path):
    include, libraries, beside = torch_folder / "include", torch_folder / "lib", path.with_suffix(".part")
    if not sys.platform.startswith("linux") or not shutil.which("g++"):
        raise CannotPretend("the pretended CUDA device is built with g++ on Linux")
    if not (include / "ATen").is_dir():
        raise CannotPretend("the pretended CUDA device is built with torch's headers, which this torch lacks")
    done = subprocess.run(
        ["g++", "-O0", "-std=c++20", "-fPIC", "-shared", source, "-o", beside, f"-I{include}",
         f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}", f"-L{libraries}", "-lc10", "-ltorch_cpu",
         f"-Wl,-rpath,{libraries}"], capture_output=True, text=True)
    if done.returncode:
        raise CannotPretend(f"g++ does not build the pretended CUDA device:\n{done.stderr[-2000:]}")
    os.replace(beside, path)


def environment(**changes):
    """The environment of a process whose torch, and whose children's torch, has the device."""
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {VARIABLE: str(build()), "PYTHONPATH": path} | changes


# In the process that has the device

class LoaderOfTorch(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads the library just before torch is imported, and puts torch.cuda right just after."""

    def find_spec(self, name, path, target=None):
        if name != "torch":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None:
            self.torchs_own, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self.torchs_own.create_module(spec)

    def exec_module(self, module):
        load_library(os.environ[VARIABLE])
        module.__spec__.loader = module.__loader__ = self.torchs_own
        self.torchs_own.exec_module(module)
        put_right(module)


def wait_for_torch():
    """Have the device as soon as torch is imported; called at the start of a process, by sitecustomize.py."""
    if os.environ.get(VARIABLE) and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        sys.meta_path.insert(0, LoaderOfTorch())


def is_here():
    return library is not None


def load_library(path):
    """Before torch asks for the first time what CUDA can do: it remembers the answer."""
    global library
    library = ctypes.CDLL(path)
    library.pretended_waits.restype = ctypes.c_char_p
    for name, kind in {"transfers_begun": ctypes.c_long, "pageable_copies": ctypes.c_long,
                       "bytes_in_use": ctypes.c_size_t, "most_bytes_in_use": ctypes.c_size_t,
                       "bytes_in_all": ctypes.c_size_t}.items():
        getattr(library, f"pretended_{name}").restype = kind


def arrive(up_to):
    if not library.pretended_arrive(ctypes.c_long(up_to)):
        raise RuntimeError("pretended CUDA: a pinned buffer was written to while its copy to the device was under way")


def synchronize(device=None):
    arrive(library.pretended_transfers_begun())


class Event:
    """In the place of torch.cuda.Event: what was sent before it has arrived once it was waited for, and not sooner."""

    def __init__(self, enable_timing=False, blocking=False, interprocess=False):
        self.transfers, self.seconds = 0, 0.0

    def record(self, stream=None):
        self.transfers, self.seconds = library.pretended_transfers_begun(), time.perf_counter()

    def synchronize(self):
        arrive(self.transfers)

    def query(self):
        return True

    def wait(self, stream=None):
        """Other work on the device waits, and there all is done in order anyway."""

    def elapsed_time(self, later):
        return 1000 * (later.seconds - self.seconds)


def put_right(torch):
    """Give torch the parts that a build without CUDA lacks in Python."""
    cuda, parts = torch.cuda, torch._C
    parts._cuda_getDeviceCount = lambda: 1
    parts._cuda_getDevice = lambda: 0
    parts._cuda_setDevice = lambda index: None
    parts._cuda_synchronize = synchronize
    parts._cuda_emptyCache = lambda: None
    parts._cuda_getCurrentRawStream = lambda index: 0
    parts._cuda_set_sync_debug_mode = lambda mode: library.pretended_set_on_wait(mode)
    parts._cuda_get_sync_debug_mode = lambda: library.pretended_on_wait()
    cuda._initialized = True
    cuda._is_in_bad_fork = lambda: bool(library.pretended_forked())
    cuda._exchange_device = cuda._maybe_exchange_device = lambda index: 0
    cuda._get_device_properties = lambda index: SimpleNamespace(
        name="pretended GPU", major=8, minor=0, multi_processor_count=1, total_memory=library.pretended_bytes_in_all())
    cuda.default_generators = (torch.Generator(device="cuda"),)
    cuda.Event = Event
    cuda.is_current_stream_capturing = lambda: False
    cuda.memory_allocated = lambda device=None: library.pretended_bytes_in_use()
    cuda.max_memory_allocated = lambda device=None: library.pretended_most_bytes_in_use()
    cuda.reset_peak_memory_stats = lambda device=None: library.pretended_forget_most_bytes()
    cuda.mem_get_info = lambda device=None: (
        library.pretended_bytes_in_all() - library.pretended_bytes_in_use(), library.pretended_bytes_in_all())
    copy_storages_by_tensors(torch)


def copy_storages_by_tensors(torch):
    """A storage on CUDA is made by CUDA's own allocator, which is not there; an empty tensor's serves as well."""
    def copied(storage, device, non_blocking=False):
        made = torch.empty(storage.nbytes(), dtype=torch.uint8, device=device).untyped_storage()
        return made.copy_(storage, non_blocking)

    clone, storage_type = torch.UntypedStorage.clone, torch.UntypedStorage
    storage_type.clone = lambda storage: copied(storage, "cuda") if storage.device.type == "cuda" else clone(storage)
    storage_type.to = lambda storage, *, device, non_blocking=False: copied(storage, device, non_blocking)


# What a test asks of the device

def waits():
    """{why the host waited for the device: how often}, since the process began."""
    lines = library.pretended_waits().decode().splitlines()
    return {why: int(count) for why, count in (line.split("\t") for line in lines)}


def pageable_copies():
    """Copies to the device that did not make the host wait, but only because they were small."""
    return library.pretended_pageable_copies()


@contextlib.contextmanager
def no_waits():
    """The host may not wait for the device in here: RuntimeError, as with torch.cuda.set_sync_debug_mode("error")."""
    import torch
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextlib.contextmanager
def memory(more):
    """The device has so many bytes more than are in use now; what asks for more of them is out of memory."""
    before = library.pretended_bytes_in_all()
    library.pretended_set_bytes_in_all(ctypes.c_size_t(library.pretended_bytes_in_use() + more))
    try:
        yield
    finally:
        library.pretended_set_bytes_in_all(ctypes.c_size_t(before))


if __name__ == "__main__":
    try:
        os.execve(sys.executable, [sys.executable, *sys.argv[1:]], environment())
    except CannotPretend as error:
        sys.exit(f"error: {error}")
