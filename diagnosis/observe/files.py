"""The files that the script writes: a run that is cut short must replace none of an earlier run's results."""

import os
import sys
import tempfile
import time

from diagnosis.observe.limits import FEWEST_STEPS
from diagnosis.record import source

CHANGES = {"os.rename": 1, "os.mkdir": 0, "os.remove": 0}       # audit event: which of its arguments is the file


class Files:
    """Ends the run, by `end`, before it writes what is to be kept."""

    def __init__(self, guard, record, script, end):
        self.guard, self.record, self.end = guard, record, end
        self.started = time.time()
        self.guarded = False            # the run is being cut short: any write would be a result of half a run
        self.of_script = os.path.dirname(os.path.realpath(script))

    def guard_all(self):
        """From now on, any attempt to write a file ends the run."""
        if not self.guarded:
            self.guarded = True
            sys.addaudithook(self.audit(self.place_of_results()))

    def place_of_results(self):
        """is_result(path): would a file written there be one of the run's results?"""
        results = [os.path.realpath(os.getcwd()), os.path.realpath(source.START), self.of_script]
        temporary = [os.path.realpath(tempfile.gettempdir()), "/dev", "/proc", "/sys"]

        def below(path, folders):
            return any(path == folder or path.startswith(folder + os.sep) for folder in folders)

        def is_result(path):
            if not isinstance(path, (str, bytes)):
                return False
            path = os.path.realpath(os.fsdecode(path))
            if path.endswith(".pyc") or "__pycache__" in path or ".pyc." in path:
                return False
            return below(path, results) or not below(path, temporary)
        return is_result

    def audit(self, is_result):
        def hook(event, args):
            if (event != "open" and event not in CHANGES) or self.guard.looks_away():
                return
            path = args[CHANGES[event]] if event in CHANGES else args[0]
            if (event in CHANGES or writes(*args[1:3])) and is_result(path):
                self.end("enough seen")
        return hook

    def checkpoint_written(self, path):
        """A checkpoint is about to be written: stop before one of an earlier run is lost."""
        if self.guard.looks_away():
            return
        old = os.path.exists(path) and os.path.getmtime(path) < self.started
        if self.guarded or (old and len(self.record.steps) >= FEWEST_STEPS):
            self.end("enough seen")


def writes(mode, flags):
    """Does an `open` with this mode (flags, where there is no mode) write?"""
    return bool(set(mode) & set("wax+") if isinstance(mode, str) else (flags or 0) & (os.O_WRONLY | os.O_RDWR))
