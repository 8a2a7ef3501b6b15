"""The forked Python of started.py ends, prints and is stopped as Python itself."""

import os
import signal
import subprocess
import sys

import pytest

ENDS = ["import os, sys; print(sys.argv, sys.stdin.read(), os.getcwd(), os.environ['OWN'], __name__); sys.exit(3)",
        "import sys; sys.exit('no data')", "raise KeyboardInterrupt", "import os; os.kill(os.getpid(), 9)",
        "import atexit; atexit.register(print, 'last'); kept = open('kept', 'w'); kept.write('whole')", "1 / 0"]


@pytest.mark.parametrize("code", ENDS)
def test_a_fork_ends_and_prints_as_a_new_process_does(python, tmp_path, code):
    seen = []
    (tmp_path / "script.py").write_text(code)
    for command in (python, sys.executable):
        for call in (["-c", code], ["script.py"]):
            done = subprocess.run([command, *call, "--lr=1"], cwd=tmp_path, input="typed", capture_output=True,
                                  text=True, env=os.environ | {"OWN": "7"}, timeout=60)
            last = done.stderr.splitlines()[-1:]        # a traceback has a line of started.py more
            seen.append((done.returncode, done.stdout, last, [path.read_text() for path in tmp_path.glob("kept")]))
    assert seen[:2] == seen[2:]


def test_a_signal_reaches_the_fork_and_a_killed_command_takes_it_along(python):
    code = ("import os, sys, time\ntry:\n    print(os.getpid(), flush=True); time.sleep(60)\n"
            "except KeyboardInterrupt:\n    sys.exit(130)")
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)):
        process = subprocess.Popen([python, "-c", code], stdout=subprocess.PIPE, text=True)
        assert int(process.stdout.readline())
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)     # which ends when the fork has closed it
        assert process.returncode == status and output == ""
