"""Processes in which a script runs under observation (child.py): started, waited for, ended with all they started.

Each has a session of its own and no keyboard; what the script prints goes to a log. Whatever happens, none of its
processes is left running.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from diagnosis.record.record import Crash, Record, from_json

CHILD = Path(__file__).with_name("child.py")
LOG_LIMIT = 5_000_000       # bytes of the script's output that are kept from its start
LOG_TAIL = 20_000           # and from its end, where it printed more
POLL = 0.1                  # seconds between two looks at the children
MARK = "DIAGNOSIS_RUN"      # environment variable that all processes of one run share
CHANGES = "DIAGNOSIS_CHANGES"       # and the one that tells child.py what to mend, as JSON


@dataclass
class Run:
    """One run of the script under observation."""
    log: Path                   # for what it prints
    changes: dict | None = None     # {name of a change: its value}; None: as it is, with the controls at its end
    threads: int | None = None      # None: as many as torch takes


@dataclass
class Child:
    """The process of a Run."""
    process: subprocess.Popen
    written: Path               # the record, as far as it goes
    mark: str
    reader: threading.Thread | None = None


def observe(runs, script, arguments, time_limit, doing):
    """The record of each Run, side by side, cut off after time_limit seconds.

    doing   'observing train.py', for the user

    Raises:
        KeyboardInterrupt, SystemExit: by a signal to this process.
    """
    children, signals = [], []
    with tempfile.TemporaryDirectory(prefix="diagnosis-") as folder:
        handlers = note_signals(signals)
        try:
            for place, run in enumerate(runs):
                children.append(start(Path(folder) / f"record-{place}.json", script, arguments, run))
            wait(children, doing, time_limit, signals)
        finally:
            in_time = [child.process.poll() is not None for child in children]
            for child in children:
                kill_all(child)
                child.reader.join(timeout=5)
            for number, handler in handlers.items():
                signal.signal(number, handler or signal.SIG_DFL)
        return [read_record(child.written, child.process.returncode, ended) for child, ended in zip(children, in_time)]


def start(written, script, arguments, run):
    changed = {} if run.changes is None else {CHANGES: json.dumps(run.changes)}
    threads = {} if run.threads is None else {"OMP_NUM_THREADS": str(run.threads)}
    child = start_child(written, script, arguments, subprocess.PIPE, changed | threads)
    child.reader = threading.Thread(target=keep_output, args=(child.process.stdout, run.log), daemon=True)
    child.reader.start()
    return child


def start_child(written, script, arguments, output, environment=None):
    mark = uuid.uuid4().hex
    process = subprocess.Popen([sys.executable, str(CHILD), str(written), str(script), *arguments],
                               stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                               start_new_session=True,
                               env={"PYTHONHASHSEED": "0"} | os.environ | (environment or {}) | {MARK: mark})
    return Child(process, written, mark)


def note_signals(signals):
    """Note the signals that end this process, for wait(); returns the old handlers.

    Raised where they arrive, they could be lost: Python ignores what is raised in some callbacks.
    """
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, lambda number, frame: signals.append(number)) for number in numbers}


def wait(children, doing, time_limit, signals):
    """Wait until all have ended or the time is up, and tell the user how far they are.

    Raises:
        KeyboardInterrupt, SystemExit: a signal was noted.
    """
    began = time.monotonic()
    shows, shown, steps = sys.stderr.isatty(), None, 0
    while any(child.process.poll() is None for child in children) and time.monotonic() - began < time_limit:
        time.sleep(POLL)
        if signals:
            raise KeyboardInterrupt if signals[0] == signal.SIGINT else SystemExit(128 + signals[0])
        seconds = int(time.monotonic() - began)
        if not shows or seconds == shown:
            continue
        shown, steps = seconds, max([steps, *map(steps_written, children)])
        print(f"\r\033[K{doing}: {seconds} s, {steps} optimizer steps seen", end="", file=sys.stderr, flush=True)
    if shows:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def steps_written(child):
    """The optimizer steps in a record that is being written."""
    with contextlib.suppress(OSError):
        return max(map(int, re.findall(r'"optimizer_steps": (\d+)', child.written.read_text())), default=0)
    return 0


def kill_all(child):
    """End the script's process group, and whatever left that group but still bears the examination's mark."""
    try:
        os.killpg(child.process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass                                # all gone already
    except AttributeError:                  # Windows knows no process groups
        child.process.kill()
    child.process.wait()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={child.mark}".encode() in environment.read_bytes().split(b"\0"):
                os.kill(int(environment.parent.name), signal.SIGKILL)
        except OSError:
            pass                            # ended in the meantime, or somebody else's


def keep_output(source, path):
    """Write what the script prints to a file, all of it read so that it never blocks, but only so much kept."""
    kept, left_out, tail = 0, 0, deque()
    with open(path, "wb", buffering=0) as log:
        while chunk := source.read1(65536):
            log.write(chunk[:LOG_LIMIT - kept])
            rest = chunk[LOG_LIMIT - kept:]
            kept += len(chunk) - len(rest)
            if rest:
                left_out += len(rest)
                tail.append(rest)
                while sum(map(len, tail)) - len(tail[0]) >= LOG_TAIL:
                    tail.popleft()
        if left_out:
            end = b"".join(tail)[-LOG_TAIL:]
            log.write(b"\n[%d bytes left out here]\n" % (left_out - len(end)) + end)


def read_record(written, status, in_time):
    """What the child wrote down last, with how it ended if it could not say so itself."""
    try:
        record = from_json(written.read_text())
    except (OSError, ValueError):
        record = Record()
    if not in_time:
        record.ended = "time limit"
    elif not record.ended:
        record.ended = "crashed"
        record.crash = record.crash or Crash("", how_it_died(status), "")
    return record


def how_it_died(status):
    if status >= 0:
        return f"its process ended with status {status} and said no more"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    hint = " (often: out of memory)" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"
