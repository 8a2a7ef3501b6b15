"""One examination from start to end: run the script under observation, judge, try the cures, report.

The script and the trials run in processes of their own (processes.py). The verdict is printed as soon as it stands,
what the trials show under it.
"""

import ast
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
import tokenize
from pathlib import Path

from diagnosis import processes
from diagnosis.cures.trials import Trials, of_no_use
from diagnosis.faults import catalogue
from diagnosis.record.notebook import is_notebook, read
from diagnosis.verdict import report
from diagnosis.verdict.conclusion import not_examined
from diagnosis.verdict.judge import judge, nothing_judged
from diagnosis.verdict.outcome import DOES_NOT_LEARN


def examine(script, arguments, report_dir, time_limit, cure=True):
    """Examine one run of a script and report it; returns the exit status of the contract (130 after Ctrl-C).

    cure   try the cure of what was found, within the same time limit (seconds)
    """
    report_dir = Path(report_dir)
    problem = problem_with_script(script) or problem_with_folder(report_dir)
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    if int(os.environ.get("RANK") or 0) > 0:
        return run_along(script, arguments, time_limit)
    began = time.monotonic()
    threading.Thread(target=catalogue, daemon=True).start()     # seconds of imports, while the script makes its own
    try:
        with beacon_for_other_ranks():
            run = processes.Run(report_dir / "script.log")
            [record] = processes.observe([run], script, arguments, time_limit, f"observing {Path(script).name}")
    except KeyboardInterrupt:
        print("interrupted; nothing of the script is left running", file=sys.stderr)
        return 130
    record.target, record.arguments = str(script), list(arguments)
    judgement = judge(record)
    reason = not_examined(record, judgement.findings, time_limit)
    if reason:
        judgement = nothing_judged(record, judgement, reason)
    record.seconds = time.monotonic() - began
    untried = "the script could not be examined" if reason else of_no_use(record, cure)
    trials = Trials(record, judgement, report_dir, began + time_limit, untried)
    report.write(record, judgement, report_dir)
    for lines in report.screen_parts(record, judgement, report_dir, trials):
        if lines:
            print("\n".join(lines), flush=True)
    record.seconds = time.monotonic() - began
    report.write(record, judgement, report_dir)
    errors = any(finding.level == "error" for finding in judgement.findings)
    return 2 if reason else int(errors or judgement.outcome == DOES_NOT_LEARN)


def run_along(script, arguments, time_limit):
    """Run one of the script's ranks that is not watched, until it ends or the first rank's examination does.

    Started by torchrun, every rank calls this program; the first one alone examines and reports.
    """
    began, seen = time.monotonic(), False
    with tempfile.TemporaryDirectory(prefix="diagnosis-") as folder:
        child = processes.start_child(Path(folder) / "record.json", script, arguments, subprocess.DEVNULL)
        try:
            while child.process.poll() is None and time.monotonic() - began < time_limit:
                if seen and not beacon().exists():
                    break
                seen = seen or beacon().exists()
                time.sleep(processes.POLL)
        finally:
            processes.kill_all(child)
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
