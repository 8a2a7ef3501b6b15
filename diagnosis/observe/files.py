"""The files that the script writes: a run that is cut short must leave no results of half a run.

What lay there before the examination is kept by observe/untouched; what that cannot reach is stopped here.
"""

import os
import sys
import tempfile

from diagnosis.record import source

CHANGES = {"os.rename": (0, 1), "os.mkdir": (0,), "os.remove": (0,), "os.rmdir": (0,), "os.truncate": (0,),
           "os.link": (1,)}         # audit event: which of its arguments are files that it changes
FOLDERS = {"os.rename": 2, "os.mkdir": 2, "os.remove": 1, "os.rmdir": 1}    # and where the folder stands to whose
                                                                            # descriptor they are relative


class Files:
    """Ends the run, by `end`, before it writes what is to be kept."""

    def __init__(self, guard, old_files, script, end):
        self.guard, self.old_files, self.end = guard, old_files, end
        self.guarded = False            # the run is being cut short: any write would be a result of half a run
        self.of_script = os.path.dirname(os.path.realpath(script))

    def guard_all(self):
        """From now on, any attempt to write a file ends the run."""
        if not self.guarded:
            self.guarded = True
            is_result = self.place_of_results()
            self.old_files.changing = self.about_to_change(is_result)
            sys.addaudithook(self.audit(is_result))

    def place_of_results(self):
        """is_result(path): would a file written there be one of the run's results?"""
        results = [os.path.realpath(os.getcwd()), os.path.realpath(source.START), self.of_script]
        places = [tempfile.gettempdir(), os.path.expanduser("~/.cache"), os.environ.get("XDG_CACHE_HOME"),
                  os.environ.get("HF_HOME")]
        temporary = [*(os.path.realpath(place) for place in places if place), "/dev", "/proc", "/sys"]

        def below(path, folders):
            return any(path == folder or path.startswith(folder + os.sep) for folder in folders)

        def is_result(path):
            if not isinstance(path, (str, bytes, os.PathLike)):
                return False
            path = os.path.realpath(os.fsdecode(path))
            if path.endswith(".pyc") or "__pycache__" in path or ".pyc." in path or below(path, [self.old_files.folder]):
                return False
            return below(path, results) or not below(path, temporary)
        return is_result

    def about_to_change(self, is_result):
        def changing(path):
            if not self.guard.looks_away() and is_result(path):
                self.end("enough seen")
        return changing

    def audit(self, is_result):
        def hook(event, args):
            if (event == "open" or event in CHANGES) and not self.guard.looks_away():
                if any(map(is_result, changed_by(event, args))):
                    self.end("enough seen")
        return hook

    def stop_what_gets_past(self):
        """Whoever changes an old file by ways that observe/untouched does not see ends the run."""
        def stop(path):
            if not self.guard.in_own_process():
                raise refusal(path)
            self.end(f"would write over {source.shown(path)}")
        sys.addaudithook(old_files_only(self.old_files, stop))


def refuse(old_files):
    """The same for another process of the script: the call there fails."""
    def stop(path):
        raise refusal(path)
    sys.addaudithook(old_files_only(old_files, stop))


def refusal(path):
    return PermissionError(f"{path} is older than the examination of this script and is kept as it is")


def old_files_only(old_files, stop):
    """An audit hook that calls stop(path) before an old file is changed."""
    def hook(event, args):
        if (event != "open" and event not in CHANGES) or event == "os.mkdir" or old_files.busy():
            return
        for path in changed_by(event, args):
            is_old = old_files.target_is_old if event == "open" else old_files.is_old
            if not os.path.isdir(path) and is_old(os.path.abspath(path)):
                stop(path)
    return hook


def changed_by(event, args):
    """The paths that an audit event is about to change."""
    if event == "open":
        return [args[0]] if isinstance(args[0], (str, bytes, os.PathLike)) and writes(*args[1:3]) else []
    at = FOLDERS.get(event)
    folder = args[at] if at is not None and len(args) > at else -1
    base = os.path.realpath(f"/proc/self/fd/{folder}") if isinstance(folder, int) and folder >= 0 else ""
    return [os.path.join(base, os.fsdecode(args[place])) for place in CHANGES[event]
            if isinstance(args[place], (str, bytes, os.PathLike))]


def writes(mode, flags):
    """Does an `open` with this mode (flags, where there is no mode) write?"""
    return bool(set(mode) & set("wax+") if isinstance(mode, str) else (flags or 0) & (os.O_WRONLY | os.O_RDWR))
