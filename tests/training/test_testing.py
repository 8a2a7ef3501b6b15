"""Test rows choose nothing: set aside before anything, scored once, with intervals that know of near-copies."""

import json

import numpy
import pytest
from conftest import metrics, posts, write_csv
from sklearn.metrics import accuracy_score, f1_score

import BERT_main_aggressive as script
from BERT_model_aggressive import BertSentimentClassifier
from training.report.scores import bootstrap
from training.run.data import prepare_data, read_tables
from training.settings import SettingError


def rows_in_threes(count):
    """Posts, each three times with other endings: (group, text, label)."""
    return [(group, f"{text} {ending}", label) for group, (text, label) in enumerate(posts(count))
            for ending in ("a", "b", "c")]


@pytest.fixture
def table(tmp_path):
    return write_csv(tmp_path / "posts.csv", rows_in_threes(80), ("id", "text", "label"))


def test_test_rows_are_set_aside_first_and_share_no_group_and_no_text_with_the_others(table):
    arguments = [f"--TRAIN_PATH={table}", "--TEST_SHARE=0.25", "--GROUP_COLUMN=id"]
    training, validation, whole, test = read_tables(script.settings_from(arguments))
    assert len(training) + len(validation) + len(test) == len(whole) == 240 and 50 < len(test) < 70
    for one in (training, validation):
        assert not set(one.groups) & set(test.groups) and not set(one.texts) & set(test.texts)
    others = read_tables(script.settings_from([*arguments, "--VALIDATION_SHARE=0.4", "--MAX_TRAIN_ROWS=50"]))
    assert list(others[3].lines) == list(test.lines)        # whatever is chosen later


def test_a_run_ends_with_the_test_rows_scores_of_the_model_that_validation_chose(train, table, tmp_path):
    constants = {"TRAIN_PATH": table, "TEST_SHARE": 0.25, "GROUP_COLUMN": "id", "NUM_EPOCHS": 2, "LEARNING_RATE": 1e-3}
    status, screen, _ = train(**constants)
    run, test = tmp_path / "run", prepare_data(script.settings_from(
        [f"--{name}={value}" for name, value in constants.items()])).test
    rows, groups = len(test.table), len(set(test.table.groups))
    assert status == 0 and f"{rows} to test on" in screen
    labels, _ = BertSentimentClassifier.from_pretrained(run / "best").predict(list(test.table.texts))
    told = json.loads((run / "test_scores.json").read_text("utf-8"))
    assert (told["rows"], told["groups"]) == (rows, groups)
    scores = told["scores"]["this model"]
    assert scores["accuracy"] == pytest.approx(accuracy_score(test.table.labels, labels))
    assert scores["macro_f1"] == pytest.approx(f1_score(test.table.labels, labels, average="macro"))
    low, high = scores["accuracy_interval"]
    assert low <= scores["accuracy"] <= high
    table_told = screen.partition(
        f"\ntest       {rows} rows that chose nothing")[2]
    assert f"their {groups} groups anew" in table_told
    assert f"this model                      {scores['accuracy']:.3f}" in table_told
    assert "LinearSVC over TF-IDF" in table_told and "on these same" not in screen
    best = max(metrics(run), key=lambda epoch: epoch["val_macro_f1"])
    saved = BertSentimentClassifier.from_pretrained(run / "best")
    assert saved.temperature == told["temperature"] == best["temperature"]
    assert f"calibration error {told['calibration_error']:.3f}, with the temperature" in table_told
    page = (run / "report.html").read_text("utf-8")
    assert f"on {rows} test rows, which chose nothing" in page and f"{scores['accuracy']:.3f}" in page
    config = json.loads((run / "config.json").read_text("utf-8"))
    assert config["test_rows"] == rows and "linear" not in config["baseline"]


def test_a_table_of_test_rows_is_told_where_it_stands_in_training(train, tmp_path):
    rows = posts(80)
    training, test = write_csv(tmp_path / "a.csv", rows[:60]), write_csv(tmp_path / "b.csv", rows[30:])
    status, screen, _ = train(TRAIN_PATH=training, TEST_PATH=test)
    assert status == 0 and "50 to test on" in screen and "of the test texts 60.0%" in screen
    assert "test       50 rows that chose nothing, INFLATED: 60% of them stand in training" in screen


def test_a_path_and_a_share_of_test_rows_are_refused_together(table):
    with pytest.raises(SettingError, match="TEST_PATH names the test rows, and TEST_SHARE sets others aside"):
        script.settings_from([f"--TEST_PATH={table}", "--TEST_SHARE=0.1"])


def test_the_bootstrap_draws_groups_and_agrees_with_the_formula_where_there_are_none():
    random = numpy.random.default_rng(1)
    labels = random.integers(3, size=600)
    said = numpy.where(random.random(600) < 0.7, labels, (labels + 1) % 3)
    share = (said == labels).mean()
    (low, high), _ = bootstrap(labels, said, numpy.arange(600))
    half = 1.96 * (share * (1 - share) / 600) ** 0.5
    assert (low, high) == pytest.approx((share - half, share + half), abs=0.005)
    of_copies, _ = bootstrap(labels.repeat(4), said.repeat(4), numpy.arange(600).repeat(4))
    assert of_copies == pytest.approx((low, high), abs=0.005)       # copies of what is known tell nothing more
    assert bootstrap(labels, labels, numpy.arange(600))[0] == pytest.approx((numpy.nan, numpy.nan), nan_ok=True)
