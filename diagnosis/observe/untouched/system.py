"""Python's own functions for files: each finds its file where OldFiles says."""

import builtins
import errno
import functools
import os
import shutil
import sys

READING = ("stat", "lstat", "access", "readlink", "listdir", "scandir", "listxattr", "statvfs", "chdir")
REMOVING = ("remove", "unlink", "rmdir")
TIMES_AND_RIGHTS = ("chmod", "utime", "chown", "lchown", "chflags", "setxattr")
PATHS = (str, bytes, os.PathLike)
WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_TRUNC


def watch(old_files):
    """Put the functions below in place of open, those of os, shutil.rmtree and sqlite3.connect."""
    stand_ins = {}
    for name in READING:
        stand_ins[os, name] = reading(old_files, name, getattr(os, name, None))
    for name in REMOVING:
        stand_ins[os, name] = removing(old_files, getattr(os, name))
    for name in TIMES_AND_RIGHTS:
        stand_ins[os, name] = times_and_rights(old_files, getattr(os, name, None))
    for name in ("rename", "replace"):
        stand_ins[os, name] = renaming(old_files, getattr(os, name))
    stand_ins |= {(os, "mkdir"): making_folder(old_files, os.mkdir), (os, "link"): linking(old_files, os.link),
                  (os, "symlink"): making_link(old_files, os.symlink), (os, "open"): os_open(old_files, os.open),
                  (os, "truncate"): truncating(old_files, os.truncate),
                  (shutil, "rmtree"): removing_tree(old_files, shutil.rmtree),
                  (builtins, "open"): opening(old_files, builtins.open)}
    put_in_place({place: function for place, function in stand_ins.items() if function is not None})
    if "sqlite3" in sys.modules:
        watch_databases(old_files, sys.modules["sqlite3"])


def put_in_place(stand_ins):
    """There, and in every module that was imported and holds such a function under a name of its own."""
    by_original = {id(getattr(module, name)): function for (module, name), function in stand_ins.items()}
    for sets in (getattr(os, name, set()) for name in dir(os) if name.startswith("supports_")):
        if isinstance(sets, set):
            sets.update([by_original[id(function)] for function in sets if id(function) in by_original])
    for (module, name), function in stand_ins.items():
        setattr(module, name, function)
    for other in list(sys.modules.values()):        # once for all: thousands of modules with a hundred names each
        if getattr(other, "__name__", "") not in ("posix", "nt", "_io", "builtins"):
            held = getattr(other, "__dict__", {})
            for name, function in [(name, by_original[id(value)]) for name, value in list(held.items())
                                   if id(value) in by_original]:
                setattr(other, name, function)


def watched(old_files, original):
    """For functions below: outside of the script's own calls, and for file descriptors, the original is called."""
    def decorate(function):
        @functools.wraps(original)
        def called(*args, **kwargs):
            args = [*args, *(kwargs.pop(name) for name in ("path", "src", "dst", "file") if name in kwargs)]
            path, *args = args or ["."]
            fixed = kwargs.get("dir_fd") is not None or kwargs.get("src_dir_fd") is not None
            if old_files.busy() or fixed or not isinstance(path, PATHS):
                return original(path, *args, **kwargs)
            return function(path, *args, **kwargs)
        return called
    return decorate


def same_kind(found, path):
    return os.fsencode(found) if isinstance(path, bytes) else found


def reading(old_files, name, original):
    if original is None:
        return None

    @watched(old_files, original)
    def read(path, *args, **kwargs):
        if not old_files.moved:
            return original(path, *args, **kwargs)
        found = original(same_kind(old_files.readable(path), path), *args, **kwargs)
        if name == "listdir":
            return old_files.names_in(path, found)
        return Entries(found, old_files, path) if name == "scandir" else found

    return read


class Entries:
    """What os.scandir gives, without the entries that the script removed."""

    def __init__(self, found, old_files, path):
        with found:
            entries = list(found)
        names = set(old_files.names_in(path, [entry.name for entry in entries]))
        self.left = iter([entry for entry in entries if entry.name in names])

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.left)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self.left = iter(())


def removing(old_files, original):
    @watched(old_files, original)
    def remove(path, *args, **kwargs):
        old_files.changing(path)
        if original.__name__ == "rmdir" and os.listdir(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        place = old_files.removed(path)
        return None if place is None else original(place, *args, **kwargs)
    return remove


def removing_tree(old_files, original):
    @watched(old_files, original)
    def rmtree(path, *args, **kwargs):
        old_files.changing(path)
        if not os.path.isdir(path) or os.path.islink(path):
            return original(path, *args, **kwargs)      # which says what is wrong with it
        place = old_files.removed(path)
        return None if place is None else original(place, *args, **kwargs)
    return rmtree


def times_and_rights(old_files, original):
    """Of an old file they stay as they are."""
    if original is None:
        return None

    @watched(old_files, original)
    def change(path, *args, **kwargs):
        old_files.changing(path)
        found = old_files.readable(path)
        return None if old_files.target_is_old(found) else original(found, *args, **kwargs)
    return change


def renaming(old_files, original):
    @watched(old_files, original)
    def rename(path, target, *args, **kwargs):
        old_files.changing(path)
        old_files.changing(target)
        way = old_files.renamed(path, target)
        if way is None:
            return
        try:
            original(*way, *args, **kwargs)
        except OSError as error:
            if error.errno != errno.EXDEV:      # the stand-ins may lie on another disk
                raise
            shutil.move(*way)
    return rename


def making_folder(old_files, original):
    @watched(old_files, original)
    def mkdir(path, *args, **kwargs):
        old_files.changing(path)
        return original(same_kind(old_files.made(path), path), *args, **kwargs)
    return mkdir


def making_link(old_files, original):
    @watched(old_files, original)
    def symlink(path, target, *args, **kwargs):
        old_files.changing(target)
        return original(path, old_files.made(target), *args, **kwargs)
    return symlink


def linking(old_files, original):
    """A second name for an old file would be a way to write into it: it is given a copy."""
    @watched(old_files, original)
    def link(path, target, *args, **kwargs):
        old_files.changing(target)
        found, there = old_files.readable(path), old_files.made(target)
        if old_files.target_is_old(found) and not os.path.lexists(there):
            shutil.copyfile(found, there)
            return None
        return original(found, there, *args, **kwargs)
    return link


def truncating(old_files, original):
    @watched(old_files, original)
    def truncate(path, *args, **kwargs):
        old_files.changing(path)
        return original(old_files.writable(path, True), *args, **kwargs)
    return truncate


def opening(old_files, original):
    @watched(old_files, original)
    def opened(file, mode="r", *args, **kwargs):
        if isinstance(mode, str) and set(mode) & set("wa+"):
            old_files.changing(file)
            return original(old_files.writable(file, "w" not in mode), mode, *args, **kwargs)
        if not old_files.moved:
            return original(file, mode, *args, **kwargs)
        place = old_files.made(file) if isinstance(mode, str) and "x" in mode else old_files.readable(file)
        return original(place, mode, *args, **kwargs)

    return opened


def os_open(old_files, original):
    @watched(old_files, original)
    def opened(path, flags, *args, **kwargs):
        exclusive = flags & os.O_CREAT and flags & os.O_EXCL
        if flags & WRITING_FLAGS and not exclusive and not os.path.isdir(path):
            old_files.changing(path)
            return original(old_files.writable(path, not flags & os.O_TRUNC), flags, *args, **kwargs)
        if not old_files.moved:
            return original(path, flags, *args, **kwargs)
        return original(old_files.made(path) if exclusive else old_files.readable(path), flags, *args, **kwargs)
    return opened


def watch_databases(old_files, module):
    """A database that the script opens is read and written in a copy."""
    original = module.connect

    @functools.wraps(original)
    def connect(database, *args, **kwargs):
        named = isinstance(database, PATHS) and database not in ("", ":memory:") and not kwargs.get("uri")
        return original(old_files.writable(database, True) if named else database, *args, **kwargs)

    for name in ("sqlite3", "sqlite3.dbapi2"):
        if name in sys.modules:
            sys.modules[name].connect = connect
