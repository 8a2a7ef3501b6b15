"""Ctrl-C and SIGTERM are noted here; train_epochs and after_step of the script finish the step, save and leave."""

import os
import shlex
import signal
import sys
import threading

from training.constants import name_of


class Interrupted(Exception):
    """The step under way is done; the run is to be saved and left."""


class Interruption:
    """Ctrl-C and SIGTERM are noted, so that the step under way can be finished; a second one ends the process."""

    def __init__(self):
        self.signal, self.before = None, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.note)
        return self

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def note(self, number, frame):
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        os.write(2, b"\nfinishing the step, then saving; once more leaves at once\n")

    def check(self):
        if self.signal is not None:
            raise Interrupted


def command_to_resume(folder, arguments, processes=1):
    """The command line that goes on with the run in this folder, by as many processes as it had."""
    kept = [argument for argument in arguments if name_of(argument) not in ("RESUME", "OUTPUT_DIR")]
    started = ["python"] if processes == 1 else ["torchrun", f"--nproc_per_node={processes}"]
    return shlex.join([*started, sys.argv[0], *kept, f"--OUTPUT_DIR={folder}", "--RESUME=True"])
