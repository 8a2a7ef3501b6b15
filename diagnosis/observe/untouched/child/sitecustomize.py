"""Python runs this when a process starts that the examined script started: its files are watched over there too.

The process is left as it would be without: this folder off sys.path, and a sitecustomize of the machine's own run.
"""

import importlib
import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
ROOT = FOLDER
for _ in range(4):
    ROOT = os.path.dirname(ROOT)


def watch():
    started, _, folder = os.environ["DIAGNOSIS_OLD_FILES"].partition(":")
    sys.path.insert(0, ROOT)
    from diagnosis.observe import files, untouched
    from diagnosis.observe.untouched.old_files import OldFiles
    sys.path.remove(ROOT)
    old_files = OldFiles(folder, float(started))
    untouched.install(old_files)
    files.refuse(old_files)


sys.path[:] = [path for path in sys.path if os.path.abspath(path) != FOLDER]
own = sys.modules.pop(__name__)
try:
    importlib.import_module(__name__)
except ImportError:
    sys.modules[__name__] = own
if "DIAGNOSIS_OLD_FILES" in os.environ and os.path.isdir(os.environ["DIAGNOSIS_OLD_FILES"].partition(":")[2]):
    watch()
