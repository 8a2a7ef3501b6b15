"""Constants at the top of a script are read from its source and overridden by their own names."""

import subprocess

import pytest
from conftest import ROOT

from training.constants import ConstantError, help_text, override, read_constants

SCRIPT = '''\
#!/usr/bin/env python
# a licence that heads the file
"""A script."""
import this_module_does_not_exist

# data
DATA_FILE = "data/sample.csv"   # comma-separated, with a header
ROWS = 0

# optimization
# (all of AdamW)
LEARNING_RATE = 5e-5            # peak rate of AdamW;
                                # 2e-5 is the careful start
SHIFT = -1
ENABLE_FP16: bool = False       # on CUDA only

DEVICES = ["cpu", "cuda"]       # no text, number or truth value
WHEN = compute()
lower = 3


def main():
    pass


LATER = 7
'''


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def constants(script):
    return read_constants(script)


def test_constants_are_read_without_importing_the_script(constants):
    assert {one.name: one.value for one in constants} == {
        "DATA_FILE": "data/sample.csv", "ROWS": 0, "LEARNING_RATE": 5e-5, "SHIFT": -1, "ENABLE_FP16": False}


def test_a_comment_belongs_to_its_constant_and_goes_on_below_it(constants):
    comments = {one.name: one.comment for one in constants}
    assert comments["LEARNING_RATE"] == "peak rate of AdamW; 2e-5 is the careful start"
    assert comments["DATA_FILE"] == "comma-separated, with a header"
    assert comments["ROWS"] == "" and comments["SHIFT"] == ""


def test_a_group_is_named_by_the_comment_line_above_it(constants):
    groups = {one.name: one.group for one in constants}
    assert groups["DATA_FILE"] == groups["ROWS"] == "data"
    assert groups["LEARNING_RATE"] == groups["SHIFT"] == groups["ENABLE_FP16"] == "optimization"


def test_a_comment_above_the_imports_is_no_group(tmp_path):
    path = tmp_path / "train.py"
    path.write_text("# licence\nimport os\nROWS = 1\n")
    assert read_constants(path)[0].group == ""


@pytest.mark.parametrize("argument, name, value", [
    ("--LEARNING_RATE=1", "LEARNING_RATE", 1.0),
    ("--LEARNING_RATE=1e-5", "LEARNING_RATE", 1e-5),
    ("--LEARNING_RATE=0", "LEARNING_RATE", 0.0),
    ("--ROWS=12", "ROWS", 12),
    ("--ROWS=-1", "ROWS", -1),
    ("--ENABLE_FP16=True", "ENABLE_FP16", True),
    ("--ENABLE_FP16=false", "ENABLE_FP16", False),
    ("--DATA_FILE=1", "DATA_FILE", "1"),
    ("--DATA_FILE=", "DATA_FILE", ""),
    ("--DATA_FILE=a=b c", "DATA_FILE", "a=b c"),
])
def test_a_value_takes_the_type_of_its_constant(constants, argument, name, value):
    values = override(constants, [argument])
    assert values == {name: value} and type(values[name]) is type(value)


def test_only_what_was_named_is_overridden(constants):
    assert override(constants, []) == {}
    assert set(override(constants, ["--ROWS=1", "--SHIFT=2"])) == {"ROWS", "SHIFT"}


@pytest.mark.parametrize("arguments, message", [
    (["--LERNING_RATE=1"], "there is no constant LERNING_RATE; did you mean LEARNING_RATE? (--help lists all)"),
    (["--learning-rate=1"], "there is no constant learning-rate; did you mean LEARNING_RATE? (--help lists all)"),
    (["--XQZ=1"], "there is no constant XQZ (--help lists all)"),
    (["--LATER=1"], "there is no constant LATER (--help lists all)"),
    (["--LEARNING_RATE=abc"],
     "--LEARNING_RATE=abc: LEARNING_RATE is a number (float), as in --LEARNING_RATE=5e-05"),
    (["--LEARNING_RATE=nan"], "--LEARNING_RATE=nan: LEARNING_RATE is a number (float), as in --LEARNING_RATE=5e-05"),
    (["--LEARNING_RATE=-inf"], "--LEARNING_RATE=-inf: LEARNING_RATE is a number (float), as in --LEARNING_RATE=5e-05"),
    (["--ROWS=1.5"], "--ROWS=1.5: ROWS is a whole number (int), as in --ROWS=0"),
    (["--ROWS="], "--ROWS=: ROWS is a whole number (int), as in --ROWS=0"),
    (["--ENABLE_FP16=1"], "--ENABLE_FP16=1: ENABLE_FP16 is True or False, as in --ENABLE_FP16=False"),
    (["--ROWS"], "--ROWS: its value is missing, as in --ROWS=0"),
    (["ROWS=1"], "ROWS=1: constants are given as --NAME=value (--help lists all)"),
    (["--ROWS=1", "--ROWS=1"], "--ROWS is given twice"),
])
def test_what_does_not_fit_is_refused_in_one_line(constants, arguments, message):
    with pytest.raises(ConstantError) as caught:
        override(constants, arguments)
    assert str(caught.value) == message


def test_help_lists_every_constant_once_aligned_by_group(script, constants):
    text = help_text(script, constants, "Trains.")
    lines = text.splitlines()
    assert lines[0] == "usage: python train.py [--NAME=value ...]"
    assert "Trains." in lines
    assert lines.index("data") < lines.index("optimization")
    rows = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert set(rows) == {one.name for one in constants}
    assert rows["LEARNING_RATE"].split()[1] == "5e-05"
    assert rows["LEARNING_RATE"].index("peak") == rows["DATA_FILE"].index("comma")


@pytest.mark.parametrize("command", [["diagnose_bert.py", "--list"], ["diagnose_bert.py", "--help"],
                                     ["BERT_main_aggressive.py", "--help"]], ids=" ".join)
def test_a_reader_that_leaves_early_gets_no_traceback(python, command):
    process = subprocess.Popen([python, ROOT / command[0], *command[1:]], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 141 and errors == ""
