"""Constants at the top of a script are read from its source and overridden by their own names."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from training.constants import ConstantError, help_text, override, read_constants
from training.settings import KINDS as KINDS_OF_MAIN
from training.settings import SettingError, read_settings

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


# What a user writes there is taken as what it can mean

KINDS = {"DATA_FILE": str, "ROWS": int, "LEARNING_RATE": float, "ENABLE_FP16": bool}


def edited(tmp_path, line):
    """The script with one of its constants written otherwise."""
    path = tmp_path / "train.py"
    name = line.partition(" ")[0]
    path.write_text(re.sub(rf"^{name}( |:).*$", lambda found: line, SCRIPT, flags=re.MULTILINE))
    return path


@pytest.mark.parametrize("line, value", [
    ("LEARNING_RATE = 2 * 1e-5", 2e-5), ("LEARNING_RATE = 1", 1.0), ('LEARNING_RATE = "2e-5"', 2e-5),
    ("LEARNING_RATE = 5e-5,", 5e-5), ("LEARNING_RATE = 1 / 4", 0.25), ("LEARNING_RATE = +1e-5", 1e-5),
    ("ROWS = 16 * 2", 32), ("ROWS = 3.0", 3), ("ROWS = 1e3", 1000), ('ROWS = "3"', 3), ("ROWS = 8,", 8),
    ("ROWS = 2 ** 5 - 1", 31), ("ROWS = int(2.5)", 2), ("ROWS = 70_000 // 7 % 64", 16), ("ROWS = None", 0),
    ("DATA_FILE = None", ""), ("DATA_FILE = False", ""), ('DATA_FILE = ["id", "label", "text"]', "id,label,text"),
    ('DATA_FILE = ("a.csv",)', "a.csv"), ('DATA_FILE = "a.csv",', "a.csv"), ('DATA_FILE = Path("a") / "b" / "c.csv"',
        "a/b/c.csv"),
    ('DATA_FILE = pathlib.Path("a.csv")', "a.csv"), ('DATA_FILE = os.path.join("a", "b.csv")', "a/b.csv"),
    ('DATA_FILE = "a" + ".csv"', "a.csv"), ("DATA_FILE = 5", "5"), ("DATA_FILE = []", ""),
    ("ENABLE_FP16 = 1", True), ("ENABLE_FP16 = not True", False), ('ENABLE_FP16 = "false"', False),
        ("ENABLE_FP16 = None", False)])
def test_what_can_be_meant_by_a_value_is_taken(tmp_path, line, value):
    name = line.partition(" ")[0]
    found = {constant.name: constant for constant in read_constants(edited(tmp_path, line), KINDS, ["ROWS"])}[name]
    assert found.value == value and type(found.value) is type(value) is KINDS[name]


@pytest.mark.parametrize("line, told", [
    ("LEARNING_RATE = 0,5", "line 12: LEARNING_RATE = (0, 5): LEARNING_RATE is a number (float)"),
    ('LEARNING_RATE = "fast"', "line 12: LEARNING_RATE = 'fast': LEARNING_RATE is a number (float)"),
    ("LEARNING_RATE = 1 / 0", "line 12: LEARNING_RATE = 1 / 0: LEARNING_RATE is a number (float)"),
    ("LEARNING_RATE = None", "line 12: LEARNING_RATE = None: LEARNING_RATE is a number (float)"),
    ('LEARNING_RATE = float("inf")', "line 12: LEARNING_RATE = float('inf'): LEARNING_RATE is a number (float)"),
    ("LEARNING_RATE = schedule()", "line 12: LEARNING_RATE = schedule(): LEARNING_RATE is a number (float)"),
    ("ROWS = 2.5", "line 8: ROWS = 2.5: ROWS is a whole number (int)"),
    ("ROWS = [8, 16]", "line 8: ROWS = [8, 16]: ROWS is a whole number (int)"),
    ("ROWS = True", "line 8: ROWS = True: ROWS is a whole number (int)"),
    ("ROWS = 3j", "line 8: ROWS = 3j: ROWS is a whole number (int)"),
    ("ROWS = LATER", "line 8: ROWS = LATER: ROWS is a whole number (int)"),
    ("DATA_FILE = True", "line 7: DATA_FILE = True: DATA_FILE is a text (str)"),
    ('DATA_FILE = {"a": 1}', "line 7: DATA_FILE = {'a': 1}: DATA_FILE is a text (str)"),
    ('DATA_FILE = b"a.csv"', "line 7: DATA_FILE = b'a.csv': DATA_FILE is a text (str)"),
    ("ENABLE_FP16 = 2", "line 15: ENABLE_FP16 = 2: ENABLE_FP16 is True or False"),
    ('ENABLE_FP16 = "yes please"', "line 15: ENABLE_FP16 = 'yes please': ENABLE_FP16 is True or False")])
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path, line, told):
    with pytest.raises(ConstantError) as refused:
        read_constants(edited(tmp_path, line), KINDS)
    assert str(refused.value) == f"train.py, {told}"


def test_a_constant_may_be_made_of_those_above_it(tmp_path):
    path = tmp_path / "train.py"
    path.write_text("WIDTH = 4\nHEIGHT = WIDTH * 2\nHEIGHT += 1\n")
    assert {constant.name: constant.value for constant in read_constants(path)} == {"WIDTH": 4, "HEIGHT": 9}


def test_a_number_written_without_a_point_can_still_be_given_one(tmp_path):
    constants = read_constants(edited(tmp_path, "LEARNING_RATE = 0"), KINDS)
    assert override(constants, ["--LEARNING_RATE=0.1"]) == {"LEARNING_RATE": 0.1}


# The training script's own

MAIN = ROOT / "BERT_main_aggressive.py"
CHOICES = {"FREEZE_STRATEGY": ("none", "half"), "HEAD": ("linear", "batchnorm"), "QUOTING": ("", "none", "double")}


def main_edited(tmp_path, *lines):
    source = MAIN.read_text("utf-8")
    for line in lines:
        source, found = re.subn(rf"^{line.partition(' ')[0]} = .*$", lambda _: line, source, flags=re.MULTILINE)
        assert found == 1
    (tmp_path / MAIN.name).write_text(source, "utf-8")
    return tmp_path / MAIN.name


def test_of_every_constant_of_the_training_script_is_known_what_it_is():
    assert {constant.name for constant in read_constants(MAIN)} == set(KINDS_OF_MAIN)
    for constant in read_constants(MAIN):
        assert KINDS_OF_MAIN[constant.name] is type(constant.value), constant.name


def test_the_training_script_takes_what_is_meant(tmp_path):
    script = main_edited(tmp_path, "DROPOUT = 0", "GROUP_COLUMN = None", 'COLUMN_NAMES = ["id", "text", "label"]',
                         "NUM_EPOCHS = 3.0", "MAX_TRAIN_ROWS = None", "FREEZE_STRATEGY = None",
                             'TRAIN_PATH = Path("a") / "b.csv"')
    settings = read_settings(script, ["--DROPOUT=0.1"], CHOICES)
    assert (settings.DROPOUT, settings.GROUP_COLUMN, settings.COLUMN_NAMES, settings.NUM_EPOCHS,
        settings.MAX_TRAIN_ROWS,
            settings.FREEZE_STRATEGY, settings.TRAIN_PATH) == (0.1, "", "id,text,label", 3, 0, "none", "a/b.csv")
    assert type(settings.NUM_EPOCHS) is int


def test_as_a_process_it_refuses_a_constant_in_one_line_and_takes_a_path(python, tmp_path):
    for beside in ("training", "diagnosis", "BERT_model_aggressive.py"):
        (tmp_path / beside).symlink_to(ROOT / beside)
    for line, told in (('TRAIN_PATH = Path("gone") / "t.csv"', "gone/t.csv: no such file in {folder} (TRAIN_PATH)"),
                       ("BATCH_SIZE = 16.5", "BERT_main_aggressive.py, line {number}: BATCH_SIZE = 16.5: BATCH_SIZE is a whole")):
        script = main_edited(tmp_path, line)
        number = 1 + next(place for place, each in enumerate(script.read_text("utf-8").splitlines()) if each.startswith(line))
        done = subprocess.run([python, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"error: {told.format(folder=tmp_path, number=number)}")


def test_a_constant_that_was_deleted_is_missed_in_one_line(tmp_path):
    script = main_edited(tmp_path, "SEED = 1")
    script.write_text(script.read_text("utf-8").replace("SEED = 1\n", "\n"), "utf-8")
    with pytest.raises(SettingError,
        match="BERT_main_aggressive.py has no constant SEED before its first function any more"):
        read_settings(script, [], CHOICES)


def test_paths_at_the_top_that_are_not_here_are_those_beside_the_script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = read_settings(MAIN, [], CHOICES)
    assert settings.TRAIN_PATH == str(ROOT / "data" / "sample.csv") and settings.SYNONYMS_PATH == str(ROOT / "data/synonyms.txt")
    assert read_settings(MAIN, ["--TRAIN_PATH=data/sample.csv"], CHOICES).TRAIN_PATH == "data/sample.csv"
    monkeypatch.chdir(ROOT)
    assert read_settings(MAIN, [], CHOICES).TRAIN_PATH == "data/sample.csv"


@pytest.mark.parametrize("command", [["diagnose_bert.py", "--list"], ["diagnose_bert.py", "--help"],
                                     ["BERT_main_aggressive.py", "--help"]], ids=" ".join)
def test_a_reader_that_leaves_early_gets_no_traceback(python, command):
    process = subprocess.Popen([python, ROOT / command[0], *command[1:]], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 141 and errors == ""
