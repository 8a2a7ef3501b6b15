"""Cross-validation: every row is tested once by a model that has not seen it, and what its label is worth is told."""

import csv
import json

import numpy
import pytest
from conftest import posts, write_csv

import BERT_main_aggressive as script
from BERT_model_aggressive import BertSentimentClassifier
from training.run.data import prepare_data
from training.settings import SettingError
from training.texts import splitting
from training.texts.splitting import fold_of
from training.texts.tables import read_table


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rows = [(row // 2, text, label) for row, (text, label) in enumerate(posts(160))]
    return write_csv(tmp_path_factory.mktemp("folds") / "posts.csv", rows, ("id", "text", "label"))


@pytest.mark.parametrize("few", [True, False])
def test_each_row_is_in_one_fold_with_all_of_its_group(table, monkeypatch, few):
    monkeypatch.setattr(splitting, "FEW_GROUPS_TIMES_FOLDS", 10**6 if few else 0)
    rows = read_table(table, group_column="id")
    folds = [fold_of(rows, 4, number, seed=1) for number in (1, 2, 3, 4)]
    assert sorted(line for _, inside in folds for line in inside.lines) == sorted(rows.lines)
    for others, inside in folds:
        assert len(others) + len(inside) == len(rows) and not set(others.groups) & set(inside.groups)
        assert 30 <= len(inside) <= 50


def test_every_row_gets_a_probability_from_a_model_that_has_not_seen_it_and_an_interruption_costs_no_fold(
        train, table, tmp_path, monkeypatch):
    constants = {"TRAIN_PATH": table, "FOLDS": 2, "GROUP_COLUMN": "id", "LEARNING_RATE": 5e-3, "HEAD": "linear"}
    whole_train, trained = script.train, []

    def interrupted_in_the_second(settings, *others):
        trained.append(settings.FOLD)
        return 130 if trained == [1, 2] else whole_train(settings, *others)

    monkeypatch.setattr(script, "train", interrupted_in_the_second)
    assert train(**constants)[0] == 130
    status, screen, _ = train(**constants)
    assert status == 0 and trained == [1, 2, 2]
    above = tmp_path / "run-folds"
    with open(above / "out_of_fold.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["line"]) for row in rows] == list(range(2, 162))
    test = prepare_data(script.settings_from(
        [f"--TRAIN_PATH={table}", "--FOLDS=2", "--FOLD=2", "--GROUP_COLUMN=id"])).test
    model = BertSentimentClassifier.from_pretrained(above / "fold-2" / "best")
    _, probabilities = model.predict(list(test.table.texts))
    by_line = {int(row["line"]): row for row in rows}
    told = [[float(by_line[line][f"p({name})"]) for name in model.label_names] for line in test.table.lines]
    numpy.testing.assert_allclose(told, probabilities, atol=1e-4)
    scores = [json.loads((above / f"fold-{fold}" / "test_scores.json").read_text())["scores"]["this model"]["accuracy"]
              for fold in (1, 2)]
    assert f"{numpy.mean(scores):.3f} ± {numpy.std(scores, ddof=1):.3f}" in screen.partition("folds      2 runs")[2]
    with open(above / "doubted_labels.csv", newline="", encoding="utf-8-sig") as file:
        doubted = list(csv.DictReader(file))
    doubts = [1 - float(by_line[int(row["line"])][f"p({row['label']})"]) for row in doubted]
    assert doubts == sorted(doubts, reverse=True) and all(row["label"] != row["predicted"] for row in doubted)
    assert list(doubted[0]) == ["line", "text", "label", "predicted", "probability", "corrected"]


@pytest.mark.parametrize("arguments, told", [
    (["--FOLDS=1"], "there are at least two folds"), (["--FOLDS=3", "--FOLD=4"], "FOLDS is 3 and FOLD 4"),
    (["--FOLDS=3", "--TEST_SHARE=0.1"], "leave TEST_PATH and TEST_SHARE out")])
def test_folds_that_cannot_be_are_refused(arguments, told):
    with pytest.raises(SettingError, match=told):
        script.settings_from(arguments)
