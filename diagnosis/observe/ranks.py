"""Scripts that train in several processes: the first rank is watched, the others run along.

A script for torchrun that is run without it is given the surroundings of a single rank. Where the script starts its
ranks itself, the first one runs in the watched process.
"""

import functools
import os
import re
import socket
import sys

WANTS_LAUNCHER = re.compile(
    r"""environ\[\s*["'](LOCAL_RANK|RANK|WORLD_SIZE)["']\s*\]|init_process_group\((?![^)]*\brank\s*=)""")
LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


def own_rank():
    """This process's rank as its launcher says; 0 where there is none."""
    return int(os.environ.get("RANK") or 0)


def surround(source):
    """Set what torchrun sets for a single rank, where the script's source asks for it and nobody else has set it."""
    if any(name in os.environ for name in LAUNCHED) or not WANTS_LAUNCHER.search(source) or "mp.spawn" in source:
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
