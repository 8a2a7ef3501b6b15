"""The rule for every observing method: no error of it reaches the script, and the observer does not observe itself."""

import functools
import os
import traceback

MOST_ERRORS = 50        # that are noted


class Guard:
    """Is the observer itself at work, and in its own process? Keeps what went wrong in observing."""

    def __init__(self, errors):
        self.errors = errors            # list of texts that the record keeps
        self.quiet = False              # the observer itself is at work: what it calls is not observed
        self.pid = os.getpid()

    def in_own_process(self):
        """False in a process that the script forked."""
        return os.getpid() == self.pid

    def looks_away(self):
        return self.quiet or not self.in_own_process()

    def attempt(self, function, *args):
        """What a function gives, or None and a note where it fails."""
        try:
            return function(*args)
        except Exception as error:
            self.note(error)
            return None

    def note(self, error):
        if len(self.errors) < MOST_ERRORS:
            frames = traceback.extract_tb(error.__traceback__)
            place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
            self.errors.append(f"{type(error).__name__}: {error}{place}"[:300])


def quietly(method):
    """For methods that patches call: nothing of them reaches the script, and None is given while the guard looks away.

    Only for such entry points: called from another observing method, a wrapped one would do nothing.
    """
    @functools.wraps(method)
    def wrapped(self, *args, **kwargs):
        guard = self.guard
        if guard.looks_away():
            return None
        guard.quiet = True
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            guard.note(error)
            return None
        finally:
            guard.quiet = False
    return wrapped
