"""The benchmarks in small: figures are there, all ways train on the same rows, and a change is one."""

import csv
import json
import math
import sys
from types import SimpleNamespace

import numpy
import pytest
from conftest import ROOT, write_csv

import BERT_main_aggressive as script
from BERT_model_aggressive import BertSentimentClassifier
from training import precision

sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))

import equal_quality
import scoring
import throughput
import worth_trying

LONGEST = 60        # characters; the tiny BERT takes 64 tokens, and of most words each letter is one


def short_posts(folder, count):
    """The first rows of the sample that the tiny BERT takes whole."""
    with open(ROOT / "data" / "sample.csv", newline="", encoding="utf-8") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file) if len(row["text"]) <= LONGEST]
    return write_csv(folder / "short.csv", rows[:count])


def constants(tiny_encoder, table):
    return [f"--MODEL_NAME={tiny_encoder}", f"--TRAIN_PATH={table}", "--MAX_LENGTH=64", "--BATCH_SIZE=8"]


def test_all_ways_train_on_the_same_rows_and_less_padding_is_counted_as_such(tiny_encoder, tmp_path):
    settings = script.settings_from(constants(tiny_encoder, short_posts(tmp_path, 160)))
    ways, told = throughput.compare(settings, rounds=1, wanted=96)      # raises where one way sees other tokens
    assert list(ways) == ["naive", "trainer", "trainer grouped", "script"]
    for one in ways.values():
        assert all(math.isfinite(value) and value > 0 for value in one.values())
        assert one["share"] <= 1 and one["of_rate"] < 1
    assert ways["naive"]["share"] < ways["trainer"]["share"] < ways["trainer grouped"]["share"] < ways["script"]["share"]
    assert "96 rows" in told
    lines = throughput.table(ways)
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 2 + len(ways)


def test_where_bfloat16_pays_all_ways_are_in_it_and_three_in_float32_too(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_gain", lambda: 2.0)
    monkeypatch.setattr(throughput, "BIG_PRODUCT", {"cpu": 32})     # a minute where there are no such units
    monkeypatch.setattr(throughput, "PRODUCT_TRIES", 1)
    settings, usual = script.settings_from(constants(tiny_encoder, short_posts(tmp_path, 60))), list(throughput.WAYS)
    ways, told = throughput.compare(settings, rounds=1, wanted=32)
    assert list(ways) == [*usual, "naive fp32", "trainer fp32", "script fp32"] and "cpu bf16" in told
    assert [way for way, one in ways.items() if one["of_rate"] is None] == list(ways)[4:]


def test_a_table_is_scored_by_the_script_and_by_transformers_pipeline_alike(
        tiny_encoder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scoring.importlib.util, "find_spec", lambda name: None)     # ten seconds of imports
    model = BertSentimentClassifier(str(tiny_encoder), head="linear", pooling="pooler", max_length=32)
    model.save_pretrained(tmp_path / "best")
    arguments = [str(tmp_path / "best"), str(short_posts(tmp_path, 60)), "--rows=40", "--rounds=1"]
    assert scoring.main(arguments) == 0
    output, errors = capsys.readouterr()
    script_row, pipeline = [[cell.strip() for cell in line.split("|")[1:-1]] for line in output.splitlines()[2:4]]
    assert (script_row[0], pipeline[0], pipeline[3]) == ("script", "pipeline", "100.00%") and float(pipeline[4]) < 1e-5
    assert "40 texts" in output and "encode is left out: sentence-transformers is not here" in errors


def test_the_second_epoch_is_timed_with_the_frozen_layers_kept_and_without(tiny_encoder, tmp_path, capsys):
    arguments = [*constants(tiny_encoder, short_posts(tmp_path, 60)), "--cache", "--rounds=1", "--rows=32"]
    assert throughput.main([*arguments, "--FREEZE_STRATEGY=half"]) == 0
    table = capsys.readouterr().out
    assert "| run each time | " in table and "| run once | " in table and "1 layers frozen, 32 rows" in table
    assert throughput.main(arguments) == 2
    assert "FREEZE_STRATEGY none freezes no layer" in capsys.readouterr().err


def test_a_way_that_leaves_rows_out_is_refused(tiny_encoder, tmp_path, monkeypatch):
    def half(settings, model, rows, precision):
        return throughput.naive(settings, model, throughput.rows_at(rows, range(len(rows[1]) // 2)), precision)

    monkeypatch.setattr(throughput, "WAYS", {"half": half})
    settings = script.settings_from(constants(tiny_encoder, short_posts(tmp_path, 60)))
    with pytest.raises(RuntimeError, match="half has not trained on the rows it was given"):
        throughput.compare(settings, rounds=1, wanted=32)


def test_ways_are_held_against_the_script_round_by_round():
    def rounds(*seconds):
        return [{"seconds": one, "positions": 200} for one in seconds]

    results = {"naive": rounds(2.0, 9.0, 4.0), "script": rounds(1.0, 3.0, 4.0)}
    naive = throughput.figures(results, numpy.array([40, 60]), {"naive": 8e9, "script": 8e9}, rate=1e10)["naive"]
    assert naive == {"examples": 0.5, "tokens": 25, "ratio": 2, "lowest": 1, "highest": 3, "share": 0.5, "of_rate": 0.2}


def test_the_arithmetic_is_that_of_a_layer_written_out(tiny_encoder):
    from transformers import AutoModel
    encoder = AutoModel.from_pretrained(tiny_encoder)       # 2 layers, 32 wide, 64 within
    length, forward = 10, 0
    forward += 4 * 2 * length * 32 * 32         # query, key, value, output
    forward += 2 * 2 * length * length * 32     # scores, and the values they weigh
    forward += 2 * 2 * length * 32 * 64         # up and down
    assert throughput.arithmetic(encoder, numpy.array([length])) == 3 * 2 * forward
    assert throughput.spared(encoder, numpy.array([length, 1])) == 3 * 2 * (length - 1) * (2 * 32 * 64 + 2 * 32 * 32)


def test_script_and_trainer_take_the_same_steps_and_are_scored_on_the_same_rows(tiny_encoder, tmp_path, monkeypatch,
                                                                                capsys):
    monkeypatch.setattr(equal_quality, "SEEDS", (1, 2))
    results = tmp_path / "results.jsonl"
    arguments = [f"--results={results}", "--NUM_EPOCHS=2", *constants(tiny_encoder, short_posts(tmp_path, 60))]
    assert equal_quality.main(arguments) == 0
    table = capsys.readouterr().out
    assert "| script less trainer, seed by seed | " in table and "12 steps" in table
    lines = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    assert len(lines) == 6
    losses = {(one["way"], one["seed"]): one["losses"] for one in lines}
    assert losses["script", 1] != losses["script, padded", 1]       # other dropout, other rounding
    assert losses["script", 1] == pytest.approx(losses["script, padded", 1], abs=0.15)

    assert equal_quality.main(arguments) == 0               # nothing is left to train
    again = capsys.readouterr()
    assert again.out == table and not again.err
    assert equal_quality.main([*arguments, "--LEARNING_RATE=1e-3"]) == 2
    assert "other constants" in capsys.readouterr().err


def test_the_top_layer_alone_is_drawn_anew_though_transformers_has_loaded_it(tiny_encoder):
    model = BertSentimentClassifier(str(tiny_encoder), 2, label_names=["bad", "good"])
    before = [[weight.detach().clone() for weight in layer.parameters()] for layer in model.encoder.encoder.layer]
    changed = SimpleNamespace(prepare_model=lambda: model)
    worth_trying.redrawn_top(changed)
    *lower, top = [[weight.equal(was) for weight, was in zip(layer.parameters(), own)]
                   for layer, own in zip(changed.prepare_model().encoder.encoder.layer, before)]
    assert all(map(all, lower)) and not all(top)
