"""One examination from start to end: run the script under observation, watch the time, judge, report.

The script runs in a process of its own (child.py), in a session of its own, without a keyboard; what it prints goes to
a log. Whatever happens, none of its processes is left running.
"""

import ast
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tokenize
import uuid
from collections import deque
from pathlib import Path

from diagnosis.record.notebook import is_notebook, read
from diagnosis.record.record import Crash, Record, from_json
from diagnosis.verdict import report
from diagnosis.verdict.conclusion import not_examined
from diagnosis.verdict.judge import judge, nothing_judged
from diagnosis.verdict.outcome import DOES_NOT_LEARN

CHILD = Path(__file__).with_name("child.py")
LOG_LIMIT = 5_000_000       # bytes of the script's output that are kept from its start
LOG_TAIL = 20_000           # and from its end, where it printed more
POLL = 0.1                  # seconds between two looks at the child
MARK = "DIAGNOSIS_RUN"      # environment variable that all processes of one examination share


def examine(script, arguments, report_dir, time_limit):
    """Examine one run of a script and report it; returns the exit status of the contract (130 after Ctrl-C)."""
    report_dir = Path(report_dir)
    problem = problem_with_script(script) or problem_with_folder(report_dir)
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    if int(os.environ.get("RANK") or 0) > 0:
        return run_along(script, arguments, time_limit)
    began = time.monotonic()
    try:
        record = observe(script, arguments, report_dir / "script.log", time_limit)
    except KeyboardInterrupt:
        print("interrupted; nothing of the script is left running", file=sys.stderr)
        return 130
    record.target, record.arguments = str(script), list(arguments)
    judgement = judge(record)
    reason = not_examined(record, judgement.findings, time_limit)
    if reason:
        judgement = nothing_judged(record, judgement, reason)
    record.seconds = time.monotonic() - began
    report.write(record, judgement, report_dir)
    print(report.screen(record, judgement, report_dir), flush=True)
    errors = any(finding.level == "error" for finding in judgement.findings)
    return 2 if reason else int(errors or judgement.outcome == DOES_NOT_LEARN)


def run_along(script, arguments, time_limit):
    """Run one of the script's ranks that is not watched, until it ends or the first rank's examination does.

    Started by torchrun, every rank calls this program; the first one alone examines and reports.
    """
    mark, began, seen = uuid.uuid4().hex, time.monotonic(), False
    with tempfile.TemporaryDirectory(prefix="diagnosis-") as folder:
        child = start_child(Path(folder) / "record.json", script, arguments, mark, subprocess.DEVNULL)
        try:
            while child.poll() is None and time.monotonic() - began < time_limit:
                if seen and not beacon().exists():
                    break
                seen = seen or beacon().exists()
                time.sleep(POLL)
        finally:
            kill_all(child, mark)
    return 0


def beacon():
    """A file that lies there while the first rank is examined; all ranks of one launch have one parent."""
    return Path(tempfile.gettempdir()) / f"diagnosis-rank-0-{os.getppid()}-{os.environ.get('MASTER_PORT', '')}"


@contextlib.contextmanager
def beacon_for_other_ranks():
    if int(os.environ.get("WORLD_SIZE") or 1) < 2:
        yield
        return
    beacon().touch()
    try:
        yield
    finally:
        beacon().unlink(missing_ok=True)


def start_child(written, script, arguments, mark, output):
    return subprocess.Popen([sys.executable, str(CHILD), str(written), str(script), *arguments],
                            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                            env=os.environ | {MARK: mark})


def problem_with_script(script):
    """Why this is nothing that can be run, in one line; None where it can."""
    path = Path(script)
    if not path.exists():
        return f"{script}: no such file"
    if path.is_dir():
        return f"{script} is a folder; give the training script in it"
    if is_notebook(path):
        return problem_with_notebook(path, script)
    if path.suffix not in (".py", ".pyw", ""):
        return f"{script} is no Python script (its name does not end in .py) and no notebook (.ipynb)"
    try:
        with tokenize.open(path) as file:
            ast.parse(file.read())
    except SyntaxError as error:
        place = f"{script}:{error.lineno}" if error.lineno else script
        return f"{place}: not valid Python: {error.msg}"
    except (OSError, ValueError) as error:
        return f"{script} cannot be read as Python: {error}"
    return None


def problem_with_notebook(path, script):
    try:
        code = read(path).source
    except SyntaxError as error:
        return f"{script}, {error.msg}"
    except (OSError, ValueError, AttributeError) as error:
        return f"{script} cannot be read as a notebook: {error}"
    return None if code.strip() else f"{script} holds no Python code cells"


def problem_with_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"no report can be written to {folder}: {error.strerror}"


def observe(script, arguments, log, time_limit):
    """The record of the script's run, cut off after time_limit seconds."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="diagnosis-") as folder, beacon_for_other_ranks():
        written = Path(folder) / "record.json"
        child = start_child(written, script, arguments, mark, subprocess.PIPE)
        reader = threading.Thread(target=keep_output, args=(child.stdout, log), daemon=True)
        reader.start()
        signals = []
        handlers = note_signals(signals)
        try:
            in_time = wait(child, written, Path(script).name, time_limit, signals)
        finally:
            kill_all(child, mark)
            reader.join(timeout=5)
            for number, handler in handlers.items():
                signal.signal(number, handler or signal.SIG_DFL)
        return read_record(written, child.returncode, in_time)


def note_signals(signals):
    """Note the signals that end this process, for wait(); returns the old handlers.

    Raised where they arrive, they could be lost: Python ignores what is raised in some callbacks.
    """
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, lambda number, frame: signals.append(number)) for number in numbers}


def wait(child, written, name, time_limit, signals):
    """Wait until the script's process ends, and tell the user how far it is; False where the time ran out.

    Raises:
        KeyboardInterrupt, SystemExit: a signal was noted.
    """
    began = time.monotonic()
    shows, shown, heartbeat, steps = sys.stderr.isatty(), None, None, 0
    while child.poll() is None and time.monotonic() - began < time_limit:
        time.sleep(POLL)
        if signals:
            raise KeyboardInterrupt if signals[0] == signal.SIGINT else SystemExit(128 + signals[0])
        seconds = int(time.monotonic() - began)
        if not shows or seconds == shown:
            continue
        if written.exists() and written.stat().st_mtime != heartbeat:
            heartbeat = written.stat().st_mtime
            steps = max([int(n) for n in re.findall(r'"optimizer_steps": (\d+)', written.read_text())], default=steps)
        shown = seconds
        print(f"\r\033[Kobserving {name}: {seconds} s, {steps} optimizer steps seen", end="", file=sys.stderr,
              flush=True)
    if shows:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return child.poll() is not None


def kill_all(child, mark):
    """End the script's process group, and whatever left that group but still bears the examination's mark."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass                                # all gone already
    except AttributeError:                  # Windows knows no process groups
        child.kill()
    child.wait()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in environment.read_bytes().split(b"\0"):
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
