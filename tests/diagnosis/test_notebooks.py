"""Notebooks: their cells in order, what is no Python left out, and places by cell."""

import json
import subprocess

import pytest
from conftest import ROOT
from test_observer import LOADERS, SETUP

from diagnosis.record.notebook import read

CELLS = [
    ("code", "%load_ext autoreload\n!pip install -q transformers \\\n    datasets\nimport torch\nfiles = !ls"),
    ("markdown", "# Data"),
    ("code", "%%time\n" + SETUP.strip()),
    ("code", LOADERS.strip() + "\ndisplay(len(train))\ntrain?\nif len(train) > 1:\n    %matplotlib inline\n"),
    ("code", "%%bash\necho $HOME | wc -c"),
    ("code", "from IPython.display import clear_output\nfrom tqdm.notebook import tqdm\nclear_output(wait=True)\n"
             "text = '''\n%keep this\n'''\nassert text.strip() == '%keep this' and files is None"),
    ("code", "model = Net()\noptimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)\n"
             "scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, step / 100))"),
    ("code", "for epoch in range(3):\n    for a, b, y in tqdm(train):\n        optimizer.zero_grad()\n"
             "        loss = nn.functional.cross_entropy(model(a, b), y)\n        loss.backward()\n"
             "        optimizer.step()\n    scheduler.step()"),
]


def write(path, cells):
    path.write_text(json.dumps({"nbformat": 4, "metadata": {}, "cells": [
        {"cell_type": kind, "source": text.splitlines(keepends=True)} for kind, text in cells]}))


@pytest.fixture
def examined(python, tmp_path):
    """Examine a notebook of these cells: (status, screen, report)."""
    def run(cells):
        write(tmp_path / "train.ipynb", cells)
        done = subprocess.run([python, str(ROOT / "diagnose_bert.py"), "--TIME_LIMIT=120", "--CURE=False",
                           "train.ipynb"],
                              cwd=tmp_path, capture_output=True, text=True, timeout=240)
        return done.returncode, done.stdout, json.loads((tmp_path / "runs/diagnosis/report.json").read_text())
    return run


def test_a_finding_in_a_notebook_is_told_with_its_cell_and_its_line_there(examined):
    status, screen, report = examined(CELLS)
    first = report["findings"][0]
    assert (status, first["name"]) == (1, "schedule-per-epoch"), screen
    assert first["where"] == {"file": "train.ipynb", "line": 7, "cell": 7}
    assert "--> train.ipynb, cell 7, line 7  scheduler.step()" in screen
    assert "train.ipynb, cell 7, line 6" in first["fix"]        # where the optimizer steps
    assert "left out" in screen and "!pip install" in screen and "%%bash" in screen


def test_a_crash_in_a_notebook_is_told_with_its_cell(examined):
    status, screen, report = examined([*CELLS[:3], ("code", "\n\nraise KeyError('text')"), *CELLS[3:]])
    assert status == 2 and "KeyError: 'text' (train.ipynb, cell 3, line 3)" in report["verdict"]
    assert 'File "train.ipynb", cell 3, line 3' in screen


def test_the_python_of_a_magic_is_kept_line_for_line(tmp_path):
    write(tmp_path / "book.ipynb", [("code", "%time x = 1\n%timeit -n 10 x + 1\n%%sql\ny = %env HOME\n?print"),
                                    ("code", "%%capture out\nz = 7 %\\\n 4"), ("code", ""), ("code", "z")])
    book = read(tmp_path / "book.ipynb")
    assert book.source.splitlines() == ["x = 1", "x + 1", "pass", "y = None", "pass", "", "z = 7 %\\", " 4", "", "z"]
    assert [book.place(line) for line in (1, 5, 6, 8, 10)] == [(1, 1), (1, 5), (2, 1), (2, 3), (4, 1)]
    assert book.left_out[0] == "cell 1, line 1: %time x = 1" and book.left_out[-1] == "cell 2, line 1: %%capture out"
