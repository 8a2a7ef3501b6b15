"""A search within a budget: trials drawn from ranges, poor ones ended early, gone on with after an interruption."""

import shlex
import sys

import pytest
from conftest import posts, write_csv
from test_reliability import interrupt_at

import BERT_main_aggressive as script
from training.run import search as search_room

pytest.importorskip("optuna")
RANGES = {"LEARNING_RATE": (1e-6, 1e-2), "HEAD": ["batchnorm", "linear"]}


@pytest.fixture
def table(tmp_path):
    return write_csv(tmp_path / "posts.csv", posts(120))


@pytest.fixture
def trials(monkeypatch):
    """The search's budget as a number of trials: each is said to have taken a minute."""
    monkeypatch.setattr(script, "RANGES", RANGES)
    monkeypatch.setattr(search_room, "spent", lambda study: 60.0 * sum("best" in one.user_attrs
                                                                      for one in study.get_trials()))


def test_a_search_ends_with_its_best_trials_and_the_command_that_trains_the_best_on_all_rows(
        train, table, trials, tmp_path, monkeypatch):
    constants = {"TRAIN_PATH": table, "TRIALS_BUDGET": 5, "NUM_EPOCHS": 3, "MAX_TRAIN_ROWS": 60}
    with monkeypatch.context() as patch:
        interrupt_at(patch, 8)      # 6 steps make a trial: in the second
        status, first, errors = train(**constants)
    assert status == 130 and "--TRIALS_BUDGET=5.0" in errors.splitlines()[-1]
    status, screen, _ = train(**constants)
    assert status == 0
    begun = first[first.rindex("trial  "):].splitlines()[0].partition(": ")[2]
    assert begun in screen and "after 2 optimizer steps" in screen      # the same constants, from where it was
    lines = screen[screen.rindex("epoch  accuracy"):].splitlines()
    scores = [float(line.split()[2]) for line in lines[1:6]]
    assert scores == sorted(scores, reverse=True) and len(lines) == 8
    assert len(list((tmp_path / "run-search").glob("trial-*"))) == 5
    assert screen.count("below the median of the trials before") == sum("(ended early)" in line for line in lines)
    command = shlex.split(lines[-1].removeprefix("next"))
    assert not any("MAX_TRAIN_ROWS" in one or "TRIALS_BUDGET" in one for one in command)
    settings = script.settings_from(command[2:])
    assert f"LEARNING_RATE={settings.LEARNING_RATE:.3g} HEAD={settings.HEAD}" in lines[1]


def test_a_trial_below_the_median_of_the_others_ends_early(trials, tmp_path):
    study = search_room.open_study(tmp_path, seed=0)
    ended = []
    for number in range(5):
        trial = study.ask()
        search_room.draw(trial, "LEARNING_RATE", (1e-5, 1e-3))
        settings = script.settings_from(["--NUM_EPOCHS=4", f"--OUTPUT_DIR={tmp_path / 'none'}"])

        def epochs(hopeless):
            history = []
            for epoch in range(1, 5):
                history.append({"epoch": epoch, "val_macro_f1": 0.1 if number == 4 else 0.5 + 0.01 * number})
                if hopeless(history):
                    break
            ended.append(len(history))
            return 130

        assert search_room.run_trial(study, trial, settings, epochs) == 130
        study.tell(trial, 0.5 + 0.01 * number)
    assert ended == [4, 4, 4, 4, 2]


def test_without_optuna_the_way_to_get_it_is_told(train, table, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    status, _, errors = train(TRAIN_PATH=table, TRIALS_BUDGET=1)
    assert (status, errors) == (2, "error: TRIALS_BUDGET needs the library optuna: pip install optuna\n")


def test_a_constant_given_by_name_is_not_drawn(train, table, monkeypatch):
    monkeypatch.setattr(script, "RANGES", {"HEAD": ["linear"]})
    status, _, errors = train(TRAIN_PATH=table, TRIALS_BUDGET=1, HEAD="linear")
    assert status == 2 and "every constant of RANGES is given by name" in errors
