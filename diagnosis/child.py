"""Runs one script under observation: python child.py <record.json> <script> [its arguments].

The script sees what it would see if it were run itself: sys.argv, sys.path[0], __main__ with its file, its working
directory. The record is written by the observer, which also ends this process.
"""

import builtins
import os
import sys
import types

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main(path, script, arguments):
    sys.path[0] = ROOT
    from diagnosis.experiments import replay    # noqa: F401
    from diagnosis.observe import patches
    from diagnosis.record import assemble     # noqa: F401 (now, while the folder is on the path)
    from diagnosis.observe.observer import Observer
    observer = Observer(os.path.abspath(path), script, arguments)
    patches.install(observer)
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(os.path.realpath(script))
    try:
        run(os.path.abspath(script))
    except BaseException as error:
        observer.crashed(error)
    observer.finish("script ended")


def run(file):
    """Execute a file as __main__, so that processes which it spawns and pickles find their way."""
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=file, __builtins__=builtins, __spec__=None, __loader__=None, __cached__=None,
                           __annotations__={})
    sys.modules["__main__"] = module
    with open(file, "rb") as source:
        code = compile(source.read(), file, "exec")
    exec(code, module.__dict__)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
