"""The script writes over no file that is older than the examination, whatever writes.

old_files.py        where the script finds its files: the old ones, stand-ins for those it changed, or nothing
system.py           open, os, shutil, sqlite3: each finds its file there
libraries.py        torch, safetensors, tokenizers: likewise, for they open files by themselves
commands.py         other programs: a command that would remove or write over an old file is not run
child/              Python processes that the script starts

What none of them sees and Python's audit events do is stopped (see observe/files.py).
"""

import os

from diagnosis.observe.untouched import commands, libraries, system

ENVIRONMENT = "DIAGNOSIS_OLD_FILES"     # for processes that the script starts: folder of the stand-ins, time of the start
CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child")


def install(old_files):
    """Stand between the script and its files, in this process and in the Python processes that it starts."""
    system.watch(old_files)
    commands.watch(old_files)
    libraries.watch(old_files)
    os.environ[ENVIRONMENT] = f"{old_files.started!r}:{old_files.folder}"
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([CHILD, *(path for path in others if path and path != CHILD)])
