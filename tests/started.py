"""Python processes that begin with torch, transformers, scikit-learn and matplotlib already imported.

The fixture `python` (conftest.py) is the path of a command that takes `script.py arguments` or `-c code arguments` as
Python itself does, and is some seconds sooner at the script's first line: this file, which hands its descriptors,
working directory, environment and arguments to a server, started once for all tests, that has imported the libraries
and forks for each call. The fork is a process of its own in a session of its own, with its own memory, modules of the
project read anew, `__main__`, arguments, folder, environment, output and end. The command passes signals on to it,
takes it along when it is killed, and ends as it ends. `sys.executable` is this command again, so that what the script
starts by it is forked too.

It cannot stand in for a process where the promise is about what comes before a script's first line: whether and how
fast the libraries can be imported, and what Python or a library reads at its start, such as PYTHONUTF8,
OMP_NUM_THREADS, HF_HUB_OFFLINE, HF_ENDPOINT or TQDM_DISABLE; nor what watches for the import of a library, as the
doctor does to see tokenizers and checkpoints of transformers. Nor where it is about the process table: the command's
id is not the fork's, /proc/<id>/environ shows the server's variables, and memory begins with all libraries. Linux
only.
"""

import json
import os
import select
import signal
import socket
import sys

LARGEST = 1 << 20       # bytes of a call's arguments and environment
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def call(path, arguments):
    """Have the server run the arguments in a fork, and end as it does; what is neither script nor -c runs afresh."""
    if not arguments or arguments[0] != "-c" and not arguments[0].endswith(".py"):
        os.execv(sys.executable, [sys.executable, *arguments])
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    connection.connect(path)
    for number in PASSED_ON:
        signal.signal(number, lambda number, frame: connection.send(b"%d" % number))
    told = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    socket.send_fds(connection, [json.dumps(told).encode()], [0, 1, 2])
    os.closerange(0, 3)         # the fork alone keeps them open
    status = int(connection.recv(16) or 1)
    if status < 0:
        if -status in PASSED_ON:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def serve(path, command):
    """Fork for each call until standard input is closed; returns in the fork, with the code that it is to run."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)       # nobody waits for the keepers
    while 0 not in select.select([listener, 0], [], [])[0]:
        if "torch" not in sys.modules:
            import_libraries()
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return keep(connection, command)
        connection.close()
    sys.exit()


def import_libraries():
    """What the project's scripts and those of the tests import, down to the modules that transformers loads late."""
    import gc

    import matplotlib.figure                # noqa: F401
    import scipy.stats                      # noqa: F401
    import sklearn.feature_extraction.text  # noqa: F401
    import sklearn.linear_model             # noqa: F401
    import sklearn.svm                      # noqa: F401
    import torch                            # noqa: F401
    from transformers import (AutoModel, AutoTokenizer, BertForSequenceClassification, BertTokenizerFast,  # noqa: F401
                              get_linear_schedule_with_warmup)
    gc.collect()
    gc.freeze()


def keep(connection, command):
    """Fork once more; the first process sees to the second until its end, which it reports."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, descriptors, _, _ = socket.recv_fds(connection, LARGEST, 3)
    fork = os.fork()
    if fork == 0:
        return become(json.loads(message), descriptors, command)
    for descriptor in descriptors:
        os.close(descriptor)
    ended = os.pidfd_open(fork)
    while ended not in (ready := select.select([connection, ended], [], [])[0]):
        if ready and (number := connection.recv(16)):
            os.kill(fork, int(number))
        else:                   # the command was killed
            os.killpg(fork, signal.SIGKILL)
            break
    status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
    try:
        connection.send(b"%d" % status)
    except OSError:
        pass
    os._exit(0)


def become(told, descriptors, command):
    """Make this fork what a new process for the call would be; the compiled code that it is to run as __main__."""
    import builtins
    import random
    import types

    import numpy
    os.setsid()
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed(), numpy.random.seed()
    sys.stdin, sys.stdout = open(0), open(1, "w")
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    sys.executable = command
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __spec__=None, __annotations__={})
    name, *arguments = told["arguments"]
    if name == "-c":
        code, file, sys.path[0] = arguments.pop(0), "<string>", ""
    else:
        file = main.__file__ = os.path.abspath(name)
        sys.path[0] = os.path.dirname(os.path.realpath(name))
        with open(name, "rb") as source:
            code = source.read()
    sys.argv = [name, *arguments]
    return compile(code, file, "exec"), main.__dict__


def run(code, names):
    """Execute the code and end as Python does, but without taking every library apart, which takes half a second."""
    import atexit
    import threading
    status = 0
    try:
        exec(code, names)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if status and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__.tb_next)
        status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    names.clear()       # closes files that were left open
    try:
        sys.stdout.flush(), sys.stderr.flush()
    except OSError:
        status = 120
    if status == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status & 0xFF)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        run(*serve(*sys.argv[2:]))
    else:
        call(sys.argv[1], sys.argv[2:])
