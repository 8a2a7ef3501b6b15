"""The ways in: what diagnose_bert.py does with its arguments, and with scripts that are hard to examine.

Where only what is judged and told is read, the doctor and the script under it are forks of a process that has imported
the libraries (tests/started.py).
"""

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import on_both_devices, posts, write_csv

import diagnose_bert
from diagnosis import processes
from training.constants import ConstantError, read_constants
from diagnosis.faults import catalogue

DOCTOR = Path(diagnose_bert.__file__)

TRAINING = '''
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
ids = torch.randint(4, 50, (256, 8))
data = TensorDataset(ids, (ids[:, 0] > 27).long())
model = nn.Sequential(nn.EmbeddingBag(50, 16), nn.Linear(16, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
for epoch in range(20):
    for inputs, labels in DataLoader(data, batch_size=16, shuffle=True):
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.py").write_text("print('nothing')\n")
    return tmp_path


def run(folder, *arguments, python, timeout=120):
    """The doctor as a user calls it, in that folder, without trying the cures (test_cures.py)."""
    return subprocess.run([python, str(DOCTOR), "--CURE=False", *arguments], cwd=folder, capture_output=True,
                          text=True, timeout=timeout)


def examine_in(folder, source, *arguments, python=sys.executable, **limits):
    """(the finished doctor, report.json) for a script of that source."""
    (folder / "train.py").write_text(source)
    done = run(folder, *(f"--{name}={value}" for name, value in limits.items()), "train.py", *arguments, python=python)
    return done, json.loads((folder / "runs/diagnosis/report.json").read_text())


@pytest.fixture
def examined(python):
    """The same with both processes forked: examined(folder, source, *arguments, **limits)."""
    return partial(examine_in, python=python)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory, python):
    """(folder, the finished doctor, report.json) of a script that learns."""
    folder = tmp_path_factory.mktemp("healthy")
    return folder, *examine_in(folder, "RATE = 1e-2\n" + TRAINING, python=python)


def test_the_projects_own_run_is_examined_with_its_whole_plan(tmp_path, tiny_encoder, python):
    table = write_csv(tmp_path / "posts.csv", posts(800))
    done = run(tmp_path, f"--MODEL_NAME={tiny_encoder}", f"--TRAIN_PATH={table}", "--MAX_LENGTH=32", "--NUM_EPOCHS=4",
               python=python, timeout=300)
    report = json.loads((tmp_path / "runs/diagnosis/report.json").read_text())
    assert done.returncode == 0
    assert {one["name"] for one in report["findings"]} <= {"encoder-random", "leakage"}     # both are true here
    assert not [one for one in report["not_checked"] if "planned" in one["reason"] or "plan is" in one["reason"]]
    assert "4 epochs, 23 batches each, 92 optimizer steps" in done.stdout
    assert "experiment failed" not in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"posts.csv", "runs"}


ON_EITHER_DEVICE = TRAINING.replace("EmbeddingBag(50, 16), nn.Linear(16, 2))", """EmbeddingBag(50, 16), nn.Linear(16, 2))
device = "cuda" if torch.cuda.is_available() else "cpu"
model, scaler = model.to(device), torch.amp.GradScaler(device, init_scale=2.0**24)""").replace("""
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
""", """
        with torch.autocast(device, torch.float16):
            loss = nn.functional.cross_entropy(model(inputs.to(device)), labels.to(device))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
""")


@on_both_devices
def test_a_script_with_fp16_and_a_scaler_is_examined_on_either_device(device, folder):
    done, report = examine_in(folder, ON_EITHER_DEVICE.replace("RATE", "0.0"))
    assert [finding["name"] for finding in report["findings"]] == ["lr-zero"], done.stdout
    assert done.returncode == 1 and report["device"].startswith(device)
    told = (folder / "runs/diagnosis/report.md").read_text("utf-8")
    assert "weights float32, autocast float16, gradient scaler" in told and "could not be observed" not in told
    assert "| can this model learn one batch by heart with a plain optimizer? | yes |" in told
    assert "| can the script's own optimizer learn that batch? | no |" in told


def log(folder):
    return (folder / "runs/diagnosis/script.log").read_text()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# arguments


def test_constants_stand_before_the_path_and_what_follows_is_the_scripts():
    assert diagnose_bert.split_arguments(["--TIME_LIMIT=5", "train.py", "--lr=1", "x"]) == \
        (["--TIME_LIMIT=5"], "train.py", ["--lr=1", "x"])
    assert diagnose_bert.split_arguments(["--LEARNING_RATE=0"]) == (["--LEARNING_RATE=0"], None, [])


def test_names_of_the_training_script_are_checked_and_passed_on(tmp_path):
    training = tmp_path / "training.py"
    training.write_text("LEARNING_RATE = 5e-5\nMAX_LENGTH = 64\n")
    own, theirs = read_constants(DOCTOR), read_constants(training)
    assert diagnose_bert.sort_by_owner(["--LEARNING_RATE=0", "--TIME_LIMIT=5", "--MAX_LENGTH=4"], own, theirs) == \
        ({"TIME_LIMIT": 5.0}, ["--LEARNING_RATE=0", "--MAX_LENGTH=4"])
    with pytest.raises(ConstantError, match="did you mean LEARNING_RATE"):
        diagnose_bert.sort_by_owner(["--LERNING_RATE=0"], own, theirs)
    with pytest.raises(ConstantError, match="did you mean TIME_LIMIT"):
        diagnose_bert.sort_by_owner(["--TIME_LIMITS=0"], own, theirs)
    with pytest.raises(ConstantError, match="MAX_LENGTH is a whole number"):
        diagnose_bert.sort_by_owner(["--MAX_LENGTH=4.5"], own, theirs)


@pytest.mark.parametrize("arguments, message", [
    (["nowhere.py"], "error: nowhere.py: no such file"),
    (["."], "error: . is a folder; give the training script in it"),
    (["notes.txt"], "error: notes.txt is no Python script (its name does not end in .py) and no notebook (.ipynb)"),
    (["book.ipynb"], "error: book.ipynb cannot be read as a notebook: it holds no list of cells"),
    (["wrong.ipynb"], "error: wrong.ipynb, cell 2, line 2: not valid Python: '(' was never closed"),
    (["broken.py"], "error: broken.py:2: not valid Python: '(' was never closed"),
    (["binary.py"], "error: binary.py: not valid Python: "),
    (["--TIME_LIMTI=3", "train.py"],
     "error: there is no constant TIME_LIMTI; did you mean TIME_LIMIT? (--help lists all)"),
    (["--TIME_LIMIT=soon", "train.py"],
     "error: --TIME_LIMIT=soon: TIME_LIMIT is a number (float), as in --TIME_LIMIT=300.0"),
    (["--REPORT_DIR=notes.txt/here", "train.py"], "error: no report can be written to notes.txt/here: "),
    (["--explain", "scheduel-per-epoch"],
     "error: there is no fault scheduel-per-epoch; did you mean schedule-per-epoch? (--list lists all)"),
])
def test_what_cannot_be_done_is_told_in_one_line_with_status_2_before_anything_is_run(folder, arguments, message, python):
    (folder / "notes.txt").write_text("to do\n")
    (folder / "book.ipynb").write_text("{}")
    (folder / "wrong.ipynb").write_text(json.dumps({"cells": [
        {"cell_type": "code", "source": "a = 1"}, {"cell_type": "markdown", "source": "text"},
        {"cell_type": "code", "source": ["import os\n", "print(\n"]}]}))
    (folder / "broken.py").write_text("import os\nprint(\n")
    (folder / "binary.py").write_bytes(b"\x80\x81\xff")
    (folder / "train.py").write_text("open('was_run', 'w')\n")
    done = run(folder, *arguments, python=python)
    assert done.returncode == 2
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1 and done.stdout == ""
    assert not (folder / "was_run").exists()


def test_list_names_every_fault_once_with_its_meaning(folder, python):
    done = run(folder, "--list", python=python)
    rows = [line.split(None, 1) for line in done.stdout.splitlines() if line.startswith("  ")]
    assert done.returncode == 0 and sorted(name for name, _ in rows) == sorted(catalogue())
    assert all(catalogue()[name].__doc__.startswith(meaning) for name, meaning in rows)


@pytest.mark.parametrize("arguments", [["--explain", "schedule-per-epoch"], ["--explain=schedule-per-epoch"]])
def test_explain_shows_the_page_of_a_fault(folder, arguments, python):
    done = run(folder, *arguments, python=python)
    assert done.returncode == 0 and done.stdout.startswith("schedule-per-epoch: ")
    headings = ["What it is", "How it shows", "How it is found", "Wrong", "Right", "Not to be confused with"]
    places = [done.stdout.index("\n" + heading + "\n") for heading in headings]
    assert places == sorted(places)


def test_help_lists_the_constants(folder, python):
    done = run(folder, "--help", python=python)
    assert done.returncode == 0
    assert "REPORT_DIR  runs/diagnosis" in done.stdout and "TIME_LIMIT" in done.stdout and "--explain" in done.stdout


# scripts that train


def test_a_script_that_learns_has_no_error_and_status_0(healthy):
    _, done, report = healthy
    assert done.returncode == 0, done.stdout
    assert not [one for one in report["findings"] if one["level"] == "error"]
    assert report["target"] == "train.py" and report["passed"]


def test_a_script_that_does_not_learn_has_an_error_and_status_1(examined, folder):
    done, report = examined(folder, "RATE = 0.0\n" + TRAINING)
    assert done.returncode == 1, done.stdout
    assert report["findings"][0]["name"] == "lr-zero" and report["findings"][0]["level"] == "error"
    assert done.stdout.startswith(report["verdict"]) and "error[lr-zero]" in done.stdout


def test_every_check_of_the_catalogue_is_found_passed_or_not_made(healthy):
    _, _, report = healthy
    told = [one["name"] for one in report["findings"] + report["not_checked"]] + report["passed"]
    assert sorted(told) == sorted(catalogue())


def test_the_report_folder_holds_report_pictures_and_output(healthy):
    folder, _, _ = healthy
    assert {path.name for path in (folder / "runs/diagnosis").iterdir()} == \
        {"report.json", "report.md", "gradient_flow.png", "learning_rate.png", "script.log"}
    assert {path.name for path in folder.iterdir()} == {"train.py", "runs"}


def test_a_crash_after_some_steps_is_judged_and_shown(examined, folder):
    crash = "        if (steps := steps + 1) == 10:\n            raise KeyError('text')\n"
    done, report = examined(folder, "RATE = 0.0\nsteps = 0\n" + TRAINING + crash)
    assert done.returncode == 1 and report["findings"][0]["name"] == "lr-zero"
    assert "the script itself crashed after 10 optimizer steps: KeyError: 'text' (train.py:" in report["verdict"]
    assert "KeyError: 'text'" in done.stdout


def test_the_time_limit_ends_a_slow_script_that_is_judged_by_what_was_seen(examined, folder):
    slow = "        time.sleep(0.8)\n"
    done, report = examined(folder, "import time\nRATE = 0.0\n" + TRAINING + slow, TIME_LIMIT=8)
    assert done.returncode == 1 and report["findings"][0]["name"] == "lr-zero"
    assert report["verdict"].endswith("for then its time was up")


# scripts that do not train


def test_the_script_finds_what_it_expects(examined, folder):
    done, report = examined(folder, "import os, sys\nprint(__name__, sys.argv, os.getcwd(), sys.path[0], sep='|')\n",
                            "--lr=1", "x y")
    place = str(folder.resolve())
    assert f"__main__|['train.py', '--lr=1', 'x y']|{place}|{place}" in log(folder)
    assert "__main__|" not in done.stdout.splitlines()[0]


def test_a_script_that_does_no_training_is_told_so(examined, folder):
    done, report = examined(folder, "import torch\nprint('evaluating only')\n")
    assert done.returncode == 2
    assert "ended without one optimizer step" in report["verdict"] and report["learnable"] is None
    assert report["passed"] == [] and sorted(one["name"] for one in report["not_checked"]) == sorted(catalogue())
    assert "evaluating only" in done.stdout


@pytest.mark.parametrize("source, words", [
    ("def main():\n    return {}['text']\n\nmain()\n",
     "crashed before its first training step: KeyError: 'text' (train.py:2)"),
    ("import a_module_nobody_has\n", "crashed before its first training step: ModuleNotFoundError: "),
])
def test_a_crash_before_training_shows_the_scripts_own_traceback(examined, folder, source, words):
    done, report = examined(folder, source)
    assert done.returncode == 2 and words in report["verdict"]
    assert 'File "' in done.stdout and "child.py" not in done.stdout and "runpy" not in done.stdout


def test_a_process_that_dies_without_a_word_is_told(examined, folder):
    done, report = examined(folder, "import os\nos.kill(os.getpid(), 9)\n")
    assert done.returncode == 2 and "SIGKILL" in report["verdict"]


@pytest.mark.parametrize("source, words", [
    ("import argparse\nargparse.ArgumentParser().parse_args()\n", "left by sys.exit(2) before its first training step"),
    ("import sys\nsys.exit('no data')\n", "left by sys.exit(no data) before its first training step"),
    ("import sys\nsys.exit()\n", "ended without one optimizer step"),
])
def test_a_script_that_leaves_by_sys_exit_is_told_so(examined, folder, source, words):
    done, report = examined(folder, source, "--lr=1")
    assert done.returncode == 2 and words in report["verdict"] and "Traceback" not in done.stdout
    assert "argparse" not in source or "unrecognized arguments: --lr=1" in done.stdout


def test_a_script_that_asks_for_input_is_told_so_and_not_waited_for(examined, folder):
    done, report = examined(folder, "name = input('data file? ')\n")
    assert done.returncode == 2 and "asks for input" in report["verdict"]


def test_a_script_that_never_begins_ends_at_the_time_limit(examined, folder):
    began = time.monotonic()
    done, report = examined(folder, "import time\nprint('reading', flush=True)\ntime.sleep(600)\n", TIME_LIMIT=5)
    assert done.returncode == 2 and "no optimizer step was seen within 5 s" in report["verdict"]
    assert time.monotonic() - began < 75 and "reading" in done.stdout


def test_megabytes_of_output_neither_block_the_script_nor_fill_the_disk(examined, folder):
    done, _ = examined(folder, "for i in range(400_000):\n    print('x' * 80)\nprint('the end')\n")
    written = log(folder)
    assert done.returncode == 2 and len(written) < processes.LOG_LIMIT + processes.LOG_TAIL + 1000
    assert "bytes left out" in written and written.rstrip().endswith("the end")
    assert len(done.stdout) < 5000


# nothing is left running


CHILDREN = '''
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
stubborn = ("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
            "signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(300)")
pids = [subprocess.Popen([sys.executable, "-c", stubborn]).pid,
        subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True).pid, os.getpid()]
fork = os.fork()
if fork == 0:
    os.setsid()
    time.sleep(300)
with open("pids.part", "w") as file:
    file.write(" ".join(map(str, pids + [fork])))
os.rename("pids.part", "pids")
'''


def pids_of(folder, seconds=60):
    until = time.monotonic() + seconds
    while not (folder / "pids").exists() and time.monotonic() < until:
        time.sleep(0.1)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


@pytest.mark.parametrize("ending", ["", "time.sleep(300)\n"])
def test_no_process_of_the_script_is_left_at_its_end_or_at_the_time_limit(folder, ending):
    done, _ = examine_in(folder, CHILDREN + ending, TIME_LIMIT=12)
    assert done.returncode == 2
    pids = pids_of(folder, 0)
    assert len(pids) == 4 and not [pid for pid in pids if alive(pid)]


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_doctor_leaves_nothing_running(folder, number, status):
    (folder / "train.py").write_text(CHILDREN + "time.sleep(300)\n")
    doctor = subprocess.Popen([sys.executable, str(DOCTOR), "train.py"], cwd=folder, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, start_new_session=True)
    pids = pids_of(folder)
    assert all(alive(pid) for pid in pids)
    doctor.send_signal(number)
    _, errors = doctor.communicate(timeout=30)
    assert doctor.returncode == status and "Traceback" not in errors
    assert not [pid for pid in pids if alive(pid)]
