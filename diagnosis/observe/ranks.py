"""Scripts that train in several processes: the first rank is watched, the others run along.

A script for torchrun that is run without it is given the surroundings of a single rank, where it would fail for want
of them. Where the script starts its ranks itself, the first one runs in the watched process.
"""

import functools
import linecache
import os
import re
import socket
import sys

from diagnosis.record import source

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE")     # environment variables that torchrun sets
ASKS_FOR_THEM = re.compile(r"""["'](LOCAL_RANK|RANK|WORLD_SIZE)["'] in os\.environ""")
READS_THEM = re.compile(r"""environ\[\s*["'](LOCAL_RANK|RANK|WORLD_SIZE)["']\s*\](?!\s*=[^=])""")


def own_rank():
    """This process's rank as its launcher says; 0 where there is none."""
    return int(os.environ.get("RANK") or 0)


def surround_reader(text):
    """For a script that reads torchrun's variables without asking whether they are there."""
    if READS_THEM.search(text) and not ASKS_FOR_THEM.search(text):
        surround()


def surround():
    """Set what torchrun sets for a single rank, where nobody else has set any of it."""
    if any(name in os.environ for name in LAUNCHED):
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_WORLD_SIZE="1")
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", str(port))


def are_several():
    """Does this run train in more than one process? An epoch must then not be cut short: the others would wait."""
    distributed = sys.modules.get("torch.distributed")
    return (distributed is not None and distributed.is_available() and distributed.is_initialized()
            and distributed.get_world_size() > 1)


def watch_joining(distributed):
    """init_process_group without a rank takes it from the environment."""
    if not distributed.is_available():
        return
    original = distributed.init_process_group

    @functools.wraps(original)
    def init_process_group(*args, **kwargs):
        method = args[1] if len(args) > 1 else kwargs.get("init_method")
        if method in (None, "env://") and len(args) < 4 and kwargs.get("rank", -1) < 0 and not kwargs.get("store"):
            surround()
        return original(*args, **kwargs)

    distributed.init_process_group = init_process_group


def watch_processes(process):
    """A rank 0 that the script starts as a Process of its own runs here instead, when the script waits for it.

    process     the module multiprocessing.process
    """
    kind = process.BaseProcess
    start, join, here = kind.start, kind.join, {}      # here: whether such a process has run

    @functools.wraps(start)
    def started(self):
        if is_first_rank(self):
            here[self] = False
        else:
            start(self)

    @functools.wraps(join)
    def joined(self, timeout=None):
        if self not in here:
            join(self, timeout)
        elif not here[self]:
            here[self] = True
            self.run()

    kind.start, kind.join = started, joined


def is_first_rank(process):
    """Process(target=train, args=(0, ...)) of a script whose train() joins a process group."""
    target, args = getattr(process, "_target", None), getattr(process, "_args", ())
    code = getattr(target, "__code__", None)
    if code is None or not source.is_users(code.co_filename) or not args or type(args[0]) is not int or args[0]:
        return False
    return any("init_process_group" in line for line in linecache.getlines(code.co_filename))


def watch_spawning(multiprocessing):
    """torch.multiprocessing.spawn: its first process is this one. The others end with the examination."""
    original = multiprocessing.spawn

    @functools.wraps(original)
    def spawn(fn, args=(), nprocs=1, join=True, daemon=False, start_method="spawn"):
        if not join or nprocs < 1:
            return original(fn, args, nprocs, join, daemon, start_method)
        context = multiprocessing.get_context(start_method)
        others = [context.Process(target=fn, args=(rank, *args), daemon=daemon) for rank in range(1, nprocs)]
        for process in others:
            process.start()
        fn(0, *args)
        for process in others:
            process.join()
        return None

    multiprocessing.spawn = spawn
