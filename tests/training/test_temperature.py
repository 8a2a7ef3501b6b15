"""Probabilities that mean something: the temperature, what it does to predictions, and labels marked as unsure."""

import csv
import io

import numpy
import pytest
import torch
from conftest import write_csv
from test_run_report import run, words, write_run_report
from torch.nn.functional import cross_entropy

import BERT_model_aggressive as module
from BERT_model_aggressive import BertSentimentClassifier
from training.report.scores import coverage, tempered
from training.run.temperature import HIGHEST, LOWEST, fit_temperature


@pytest.fixture(scope="module")
def logits():
    """(logits [rows, classes] three times as large as they should be, the labels drawn from what they should be)."""
    draw = torch.Generator().manual_seed(0)
    right = torch.randn(4000, 4, generator=draw) * 2
    return 3 * right, torch.multinomial(right.softmax(dim=1), 1, generator=draw)[:, 0]


def test_the_temperature_undoes_what_made_the_logits_too_large(logits):
    sure, labels = logits
    assert fit_temperature(sure, labels.numpy()) == pytest.approx(3, rel=0.1)
    found = fit_temperature(sure[:50], labels[:50])
    for other in (found * 0.9, found * 1.1):
        assert cross_entropy(sure[:50] / found, labels[:50]) < cross_entropy(sure[:50] / other, labels[:50])


def test_rows_that_are_all_right_or_all_wrong_keep_it_within_its_bounds():
    sure, labels = torch.eye(4), torch.arange(4)
    assert fit_temperature(sure, labels) == pytest.approx(LOWEST, rel=0.01)
    assert fit_temperature(sure, labels.roll(1)) == pytest.approx(HIGHEST, rel=0.01)


def test_probabilities_are_tempered_as_their_logits_would_be(logits):
    sure, _ = logits
    wanted = (sure / 3).softmax(dim=1).numpy()
    numpy.testing.assert_allclose(tempered(sure.softmax(dim=1).numpy(), 3.0), wanted, atol=1e-4)
    assert numpy.isfinite(tempered(numpy.array([[1.0, 0.0]]), 2.0)).all()


def test_the_page_shows_calibration_before_and_after_and_how_accuracy_and_coverage_trade(tmp_path):
    made = run()
    text = words(write_run_report(tmp_path, **made).read_text("utf-8"))
    assert "The model divides its logits by a temperature, 1.00" in text and "unsure below" in text
    confidence, right = numpy.array([0.4, 0.55, 0.97, 0.99]), numpy.array([False, True, True, True])
    lines = coverage(confidence, right)
    assert [(line["bound"], line["share"], line["accuracy"]) for line in lines[:2]] == [
        (0, 1.0, 0.75), (0.5, 0.75, 1.0)]
    assert lines[-1]["share"] == 0.5


def test_predictions_are_tempered_and_marked_where_they_are_unsure(tiny_encoder, tmp_path, capsys):
    torch.manual_seed(0)
    model = BertSentimentClassifier(str(tiny_encoder), label_names=list("abcd"), head="linear", max_length=32).eval()
    torch.nn.init.normal_(model.classifier.weight)
    texts = ["love", "awful", "price it is", "football", "a", "the phone is great"]
    before = model.predict(texts)[1]
    model.temperature = 2.0
    model.save_pretrained(tmp_path / "best")
    labels, after = BertSentimentClassifier.from_pretrained(tmp_path / "best").predict(texts)
    numpy.testing.assert_allclose(after, tempered(before, 2.0), atol=1e-5)
    bound = float(numpy.median(after.max(axis=1)).round(3))
    table = write_csv(tmp_path / "t.csv", [[text] for text in [*texts, ""]], ["text"])
    assert module.main([str(tmp_path / "best"), str(table), f"--UNSURE_BELOW={bound}"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["unsure"] for row in rows[:-1]] == ["unsure" if each < bound else "" for each in after.max(axis=1)]
    assert [row["label"] for row in rows] == [*labels, ""] and rows[-1]["unsure"] == ""
    with pytest.raises(SystemExit):
        module.main([str(tmp_path / "best"), str(table), "--UNSURE_BELOW=60"])
    assert "a probability is a number from 0 to 1" in capsys.readouterr().err
