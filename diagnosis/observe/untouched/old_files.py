"""Where the script finds its files: the old ones, stand-ins for those it changed, or nothing where it removed them."""

import errno
import functools
import os
import shutil
import stat
import tempfile
import threading
import time


def guarded(method):
    """For methods that take paths from the script: what they call themselves is not redirected again."""
    @functools.wraps(method)
    def called(self, *args, **kwargs):
        before, self.local.busy = self.busy(), True
        try:
            return method(self, *args, **kwargs)
        finally:
            self.local.busy = before
    return called


class OldFiles:
    """Files and folders older than the examination, as the script sees them. Paths are taken as the script gives them.

    moved   real path of an old file: its stand-in, what took its place, or None where the script removed it; of a
            folder likewise, with all that is in it
    """

    def __init__(self, folder, started=None):
        """folder: for the stand-ins; started: of the examination, in seconds, for another process of the script."""
        self.folder = os.path.realpath(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.started = started or time.time()
        self.moved, self.kept = {}, []
        self.changing = lambda path: None       # told of each path before the script changes anything there
        self.local = threading.local()

    def busy(self):
        return getattr(self.local, "busy", False)

    # ---- what is where

    def key(self, path, follow=True):
        path = os.path.abspath(os.fsdecode(path))
        return os.path.realpath(path) if follow else os.path.join(os.path.realpath(os.path.dirname(path)),
                                                                  os.path.basename(path))

    def find(self, path):
        """Where the path's contents are now; None where the script removed it."""
        if not self.moved:
            return os.fsdecode(path)
        for key in (self.key(path, follow=False), self.key(path)):
            at, rest = key, []
            while at not in self.moved and os.path.dirname(at) != at:
                at, name = os.path.split(at)
                rest.insert(0, name)
            if at in self.moved:
                return None if self.moved[at] is None else os.path.join(self.moved[at], *rest)
        return os.fsdecode(path)

    @guarded
    def target_is_old(self, path):
        return self.is_old(os.path.realpath(path))

    @guarded
    def is_old(self, path):
        """Was this file, link or folder there before the examination? Devices and pipes never are; caches of compiled
        Python are nobody's results."""
        try:
            found = os.lstat(path)
        except (OSError, ValueError):
            return False
        if path.startswith(self.folder + os.sep) or path.endswith(".pyc") or "__pycache__" in path:
            return False
        kind = found.st_mode
        return min(found.st_mtime, found.st_ctime) < self.started and (
            stat.S_ISREG(kind) or stat.S_ISLNK(kind) or stat.S_ISDIR(kind))

    @guarded
    def holds_old(self, path):
        """Is this an old file, or a folder with one in it? A folder's own times tell nothing: they change with it."""
        if not os.path.isdir(path) or os.path.islink(path):
            return self.is_old(path)
        names = [os.path.join(folder, name) for folder, _, files in os.walk(path) for name in files]
        return any(map(self.is_old, names)) or not names and self.is_old(path)

    def names_in(self, path, names):
        """The names of a folder's entries without those that the script removed."""
        if None not in self.moved.values():
            return names
        folder = self.key(path)
        gone = {os.path.basename(key) for key, place in self.moved.items()
                if place is None and os.path.dirname(key) == folder}
        return [name for name in names if os.fsdecode(name) not in gone]

    # ---- what the script does

    @guarded
    def readable(self, path):
        found = self.find(path)
        if found is None:
            raise missing(path)
        return found

    @guarded
    def writable(self, path, keep=False):
        """Where the script may write in place of path. keep: what is there now is to be there too.

        Raises:
            FileNotFoundError: the script removed the folder.
        """
        found = self.find(path)
        if found is None and self.find(os.path.dirname(os.path.abspath(os.fsdecode(path)))) is None:
            raise missing(path)
        if found is not None and not self.is_old(os.path.realpath(found)):
            return found
        place = self.stand_in(path)
        if keep and found is not None:
            shutil.copyfile(found, place)
        self.put(self.key(path), place)
        return place

    @guarded
    def removed(self, path):
        """The file that is to be removed in its place; None where the script's own view of it is enough."""
        key, found = self.key(path, follow=False), self.find(path)
        if found is None:
            raise missing(path)
        if key not in self.moved and not self.holds_old(found):
            return found
        place = self.moved.get(key)
        self.put(key, None)
        return place if place is not None and place.startswith(self.folder + os.sep) else None

    @guarded
    def made(self, path):
        """Where a folder or link of that name is to be made."""
        found = self.find(path)
        if found is not None:
            return found
        if self.find(os.path.dirname(os.path.abspath(os.fsdecode(path)))) is None:
            raise missing(path)
        self.put(self.key(path, follow=False), place := self.stand_in(path))
        return place

    @guarded
    def renamed(self, source, target):
        """(from, to) as it is to be done; None where the script's own view is enough."""
        found, there = self.find(source), self.find(target)
        if found is None:
            raise missing(source)
        key, target_key = self.key(source, follow=False), self.key(target, follow=False)
        if self.holds_old(found):
            self.follow(key, target_key)
            self.put(target_key, found, forget=False)
            self.put(key, None)
            return None
        if there is None or not os.path.isdir(there) and self.is_old(there):
            there = self.stand_in(target)
            self.put(target_key, there)
        self.follow(key, target_key)
        if key in self.moved:
            self.put(key, None)
        return found, there

    def follow(self, key, target_key):
        """What was moved below a folder goes with it."""
        for path in [path for path in self.moved if path.startswith(key + os.sep)]:
            self.moved[target_key + path[len(key):]] = self.moved.pop(path)

    def put(self, key, place, forget=True):
        if forget:
            for path in [path for path in self.moved if path.startswith(key + os.sep)]:
                del self.moved[path]
        self.moved[key] = place
        if os.path.lexists(key) and key not in self.kept:
            self.kept.append(key)

    def stand_in(self, path):
        return os.path.join(tempfile.mkdtemp(dir=self.folder), os.path.basename(os.path.abspath(os.fsdecode(path))))


def missing(path):
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
