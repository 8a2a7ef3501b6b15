"""Ctrl-C and SIGTERM: the step under way is finished, the run saved, and the command that goes on with it told."""

import os
import shlex
import signal
import sys
import threading


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


def command_to_resume(folder, arguments):
    kept = [argument for argument in arguments if argument.removeprefix("--").partition("=")[0] not in ("RESUME", "OUTPUT_DIR")]
    return shlex.join(["python", sys.argv[0], *kept, f"--OUTPUT_DIR={folder}", "--RESUME=True"])
