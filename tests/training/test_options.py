"""The options that are off by default: rates by layer, smoothing, changed texts, ensembles, trials."""

import json
import os
import random
import re
from collections import Counter

import numpy
import pytest
import torch
from conftest import ROOT, metrics, on_both_devices, posts, write_csv
from test_reliability import assert_same, interrupt_at
from test_training import CPU, loader_of, random_rows, setup, small_model

import BERT_main_aggressive as script
from BERT_model_aggressive import BertSentimentClassifier
from training.run.data import read_tables
from training.run.optimization import Learner, make_optimizer, moving_average
from training.settings import fit_to_rows
from training.texts.augment import CHANGES, augmented, read_synonyms
from training.texts.refusal import TableError

TEXT = "the phone is great, and it came very fast"


def rates_of(optimizer, model):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(one)]: group["lr"] for group in optimizer.param_groups for one in group["params"]}


# Rates and losses

def test_each_layers_rate_is_that_of_the_layer_above_times_the_decay_and_the_head_has_its_own():
    model = small_model()
    rates = rates_of(make_optimizer(model, 1e-4, 0.01, layer_decay=0.5, head_rate=1e-3), model)
    assert rates.keys() == dict(model.named_parameters()).keys()
    for part, rate in (("encoder.encoder.layer.1.", 1e-4), ("encoder.encoder.layer.0.", 5e-5),
                       ("encoder.embeddings.", 2.5e-5), ("encoder.pooler.", 1e-4), ("classifier.", 1e-3)):
        assert all(value == pytest.approx(rate) for name, value in rates.items() if name.startswith(part)), part


def test_without_these_options_every_rate_is_the_same_and_biases_and_norms_alone_are_not_decayed():
    optimizer = make_optimizer(small_model(), 1e-4, 0.01)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(1e-4, 0.01), (1e-4, 0.0)]


def test_smoothing_changes_what_is_minimised_but_not_the_loss_that_is_reported():
    reported, weights = [], []
    for smoothing in (0.0, 0.2):
        model, loader = small_model(), loader_of(random_rows(8), 8)
        optimizer, schedule, _ = setup(model, loader)
        learner = Learner(model, optimizer, schedule, CPU, CPU.scaler(), label_smoothing=smoothing)
        reported.append(script.train_epoch(learner, loader)["loss"])
        weights.append(model.classifier[0].weight.detach().clone())
    assert reported[0] == pytest.approx(reported[1]) and not torch.equal(*weights)


# The measured recipe

def test_the_measured_recipe_takes_the_place_of_the_constants_but_not_of_those_given_by_name(capsys):
    guide, measured = (script.settings_from([f"--RECIPE={name}"]) for name in ("guide", "measured"))
    for name, value in script.MEASURED.items():
        assert getattr(measured, name) == value != getattr(guide, name)
    given = script.settings_from(["--RECIPE=measured", "--LEARNING_RATE=3e-5"])
    assert given.LEARNING_RATE == 3e-5 and given.HEAD_LEARNING_RATE == script.MEASURED["HEAD_LEARNING_RATE"]
    for settings in (guide, given):
        script.screen.say_recipe(settings, script.MEASURED)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "recipe     guide: the constants as they stand"
    assert lines[1].startswith("recipe     measured: ") and "HEAD_LEARNING_RATE=0.001" in lines[1]
    assert "LEARNING_RATE=3e-05" in lines[2] and "by name" in lines[2]


def test_large_tables_have_values_of_their_own_in_the_measured_recipe():
    def fitted(*arguments, rows=script.LARGE):
        settings = script.settings_from(arguments)
        return settings, fit_to_rows(settings, rows, script.LARGE, script.MEASURED_LARGE)

    _, large = fitted("--RECIPE=measured", "--NUM_EPOCHS=4")
    assert large.NUM_EPOCHS == 4 and large.LEARNING_RATE == script.MEASURED_LARGE["LEARNING_RATE"]
    assert large.HEAD == script.MEASURED["HEAD"] and large.by_name == {"RECIPE", "NUM_EPOCHS"}
    for arguments, rows in ((["--RECIPE=measured"], script.LARGE - 1), ([], script.LARGE)):
        settings, same = fitted(*arguments, rows=rows)
        assert same is settings
    with pytest.raises(script.SettingError, match="ENSEMBLE is 3; it must be at most 2"):
        fitted("--RECIPE=measured", "--ENSEMBLE=3")


def test_a_value_of_the_measured_recipe_is_held_to_its_bounds_and_an_unknown_recipe_refused(monkeypatch):
    monkeypatch.setitem(script.MEASURED, "LEARNING_RATE", 2.0)
    with pytest.raises(script.SettingError, match="LEARNING_RATE is 2.0; it must be at most 1"):
        script.settings_from(["--RECIPE=measured"])
    with pytest.raises(script.SettingError, match="RECIPE is 'best'; it can be guide, measured"):
        script.settings_from(["--RECIPE=best"])


# Changed texts

def test_reversal_deletion_swap_and_synonyms_do_what_their_names_say():
    chance, synonyms = random.Random(0), {"great": ["superb"], "fast": ["quick"]}
    assert CHANGES["reverse"](TEXT, chance, {}) == "fast very came it and great, is phone the"
    assert Counter(CHANGES["swap"](TEXT, chance, {}).split()) == Counter(TEXT.split())
    assert CHANGES["swap"](TEXT, chance, {}) != TEXT
    lengths = [len(CHANGES["delete"](TEXT, chance, {}).split()) for _ in range(2000)]
    assert sum(lengths) / len(lengths) == pytest.approx(0.9 * 9, rel=0.02)
    seen = {CHANGES["synonyms"](TEXT, chance, synonyms) for _ in range(50)}
    assert seen == {TEXT.replace("great,", "superb,"), TEXT.replace("fast", "quick")}


def test_texts_without_blanks_are_changed_by_characters():
    assert CHANGES["reverse"]("手机很好", random.Random(0), {}) == "好很机手"
    assert sorted(CHANGES["swap"]("手机很好", random.Random(0), {})) == sorted("手机很好")
    assert min(len(CHANGES["delete"]("手机很好用" * 10, random.Random(seed), {})) for seed in range(20)) < 48


@pytest.mark.parametrize("way", CHANGES)
@pytest.mark.parametrize("text", ["word", "😀", "...", "two words", "日本語のテキスト"])
def test_no_text_is_emptied(way, text):
    assert all(CHANGES[way](text, random.Random(seed), {"word": ["term"]}).strip() for seed in range(50))


def test_draws_are_the_same_for_the_same_seed_and_epoch_and_fresh_in_each_epoch():
    texts = [f"{TEXT} {number}" for number in range(500)]
    draw = lambda seed, epoch: augmented(texts, ["reverse", "swap"], 0.5, {}, seed, epoch)
    assert draw(1, 1) == draw(1, 1) and draw(1, 1) != draw(1, 2) and draw(1, 1) != draw(2, 1)
    changed = sum(one != text for one, text in zip(draw(1, 1), texts))
    assert 200 < changed < 300


def test_the_list_of_synonyms_that_comes_along_can_be_read_and_a_bad_one_is_refused(tmp_path):
    synonyms = read_synonyms("data/synonyms.txt" if os.path.exists("data/synonyms.txt") else
                             ROOT / "data" / "synonyms.txt")
    assert len(synonyms) > 150 and all(word not in others for word, others in synonyms.items())
    assert "superb" in synonyms["great"] and "great" in synonyms["superb"]
    (tmp_path / "bad.txt").write_text("# nothing\nalone\n")
    with pytest.raises(TableError, match="no line holds two words"):
        read_synonyms(tmp_path / "bad.txt")
    with pytest.raises(TableError, match="No such file"):
        read_synonyms(tmp_path / "gone.txt")


def test_only_training_texts_are_changed_and_each_epoch_trains_on_other_ones(train, posts_csv, monkeypatch):
    seen = {"train": [], "validate": []}
    train_epoch, evaluate = script.train_epoch, script.evaluate
    rows = lambda loader: (loader.dataset.ids.tolist(), loader.dataset.starts.tolist())
    monkeypatch.setattr(script, "train_epoch", lambda learner, loader, *arguments: (
        seen["train"].append(rows(loader)), train_epoch(learner, loader, *arguments))[1])
    monkeypatch.setattr(script, "evaluate", lambda model, loader, *arguments: (
        seen["validate"].append(rows(loader)), evaluate(model, loader, *arguments))[1])
    assert train(TRAIN_PATH=posts_csv, NUM_EPOCHS=2, AUGMENT="reverse, delete")[0] == 0
    assert seen["train"][0] != seen["train"][1] and seen["validate"][0] == seen["validate"][1]


def test_a_way_that_does_not_exist_is_refused(train, posts_csv):
    status, _, errors = train(TRAIN_PATH=posts_csv, AUGMENT="reverse,backtranslate")
    assert status == 2 and "AUGMENT knows no 'backtranslate'; it can be reverse, delete, swap, synonyms" in errors


# The moving average of the weights

def test_what_is_validated_and_kept_is_the_moving_average_over_so_many_steps(train, posts_csv, tmp_path, monkeypatch):
    after_steps, saved, take_step, finish_epoch = [], [], script.take_step, script.finish_epoch

    def remember(learner, *others):
        take_step(learner, *others)
        after_steps.append({name: weights.detach().clone() for name, weights in learner.model.named_parameters()})

    def compare(data, learner, place, progress, seen, validated):
        assert torch.equal(script.evaluate(learner.kept, data.loaders[1], learner.precision)[0], validated[0])
        finish_epoch(data, learner, place, progress, seen, validated)
        if progress.best["epoch"] == progress.history[-1]["epoch"]:
            saved.append(progress.best["epoch"])
            best = BertSentimentClassifier.from_pretrained(tmp_path / "run" / "best")
            for name, weights in best.named_parameters():
                assert torch.equal(weights, dict(learner.kept.named_parameters())[name]), name

    monkeypatch.setattr(script, "take_step", remember)
    monkeypatch.setattr(script, "finish_epoch", compare)
    assert train(TRAIN_PATH=posts_csv, EMA_STEPS=5, NUM_EPOCHS=3, LEARNING_RATE=1e-3, SAVE_EVERY=0)[0] == 0
    state = torch.load(max((tmp_path / "run" / "state").glob("*.pt")), weights_only=True)
    for name, average in after_steps[0].items():
        for weights in after_steps[1:]:
            average += (weights[name] - average) / min(5, 0.25 * len(after_steps))
        torch.testing.assert_close(state["moving"][f"module.{name}"], average)
        assert torch.equal(state["model"][name], after_steps[-1][name])
        assert not torch.equal(average, after_steps[-1][name])
    assert 1 in saved


@pytest.mark.parametrize("back, steps, decay", [(50, 1000, 0.98), (50, 40, 0.9), (50, 2, 0.0)])
def test_the_average_reaches_so_many_steps_back_and_in_a_short_run_a_quarter_of_all(back, steps, decay):
    model = torch.nn.Linear(1, 1)
    moving = moving_average(model, back, steps)
    for weight in (1.0, 2.0):
        torch.nn.init.constant_(model.weight, weight)
        moving.update_parameters(model)
    assert moving.module.weight.item() == pytest.approx(decay + 2 * (1 - decay))


# Ensembles

OPTIONS = {"NUM_EPOCHS": 4, "EARLY_STOPPING_PATIENCE": 0, "ENSEMBLE": 2, "BATCH_SIZE": 16, "LEARNING_RATE": 1e-3,
           "AUGMENT": "reverse,delete,swap,synonyms", "LAYER_LR_DECAY": 0.9, "LABEL_SMOOTHING": 0.1, "CLASS_WEIGHTS": True,
           "EMA_STEPS": 9}


def test_both_averages_are_reported_beside_the_best_epoch_and_come_from_the_models_saved(train, posts_csv, tmp_path):
    status, screen, _ = train(TRAIN_PATH=posts_csv, **OPTIONS)
    assert status == 0
    run = tmp_path / "run"
    epochs = sorted(metrics(run), key=lambda epoch: -epoch["val_macro_f1"])[:2]
    folders = [run / "ensemble" / f"epoch-{epoch['epoch']}" for epoch in epochs]
    assert sorted((run / "ensemble").iterdir()) == sorted(folders)
    _, validation, *_ = read_tables(script.settings_from([f"--TRAIN_PATH={posts_csv}"]))
    models = [BertSentimentClassifier.from_pretrained(folder) for folder in folders]
    mean = numpy.mean([model.predict(validation.texts)[1] for model in models], axis=0)
    predicted = [models[0].label_names[best] for best in mean.argmax(axis=1)]
    accuracy = numpy.mean([one == label for one, label in zip(predicted, validation.labels)])
    scores = json.loads((run / "ensemble.json").read_text())
    assert scores["probabilities"]["accuracy"] == pytest.approx(accuracy)
    numbers = ", ".join(str(epoch["epoch"]) for epoch in epochs)
    assert re.search(rf"probabilities, epochs {numbers} +{accuracy:.3f}", screen)
    assert re.search(rf"weights, last 2 epochs +{scores['weights']['accuracy']:.3f}", screen)
    assert BertSentimentClassifier.from_pretrained(run / "averaged").predict(["the phone is great"])


def test_the_averaged_weights_are_the_mean_over_the_last_epochs(train, posts_csv, tmp_path, monkeypatch):
    kept = []
    finish_epoch = script.finish_epoch

    def remember(data, learner, *others):
        kept.append({name: tensor.clone() for name, tensor in learner.kept.state_dict().items()})
        finish_epoch(data, learner, *others)

    monkeypatch.setattr(script, "finish_epoch", remember)
    train(TRAIN_PATH=posts_csv, **OPTIONS)
    averaged = BertSentimentClassifier.from_pretrained(tmp_path / "run" / "averaged").state_dict()
    for name in ("classifier.0.weight", "encoder.encoder.layer.1.output.dense.weight"):
        torch.testing.assert_close(averaged[name], (kept[2][name] + kept[3][name]) / 2)


@on_both_devices
def test_with_every_option_on_an_interrupted_run_resumed_is_the_same_bit_for_bit(
        device, train, posts_csv, tmp_path, monkeypatch):
    options, step = (OPTIONS, 41) if device == "cpu" else \
        (OPTIONS | {"DETERMINISTIC": True, "NUM_EPOCHS": 2, "BATCH_SIZE": 32}, 8)
    train(TRAIN_PATH=posts_csv, OUTPUT_DIR=tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        assert train(TRAIN_PATH=posts_csv, **options)[0] == 130
    assert train(TRAIN_PATH=posts_csv, RESUME=True, **options)[0] == 0
    assert_same(tmp_path / "run", tmp_path / "whole")
    for name in ("averaged/model.safetensors", "ensemble.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


# Trials

def test_trials_run_one_by_one_and_end_with_a_table_by_macro_f1(train, posts_csv, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "TRIALS", ["", "LEARNING_RATE=5e-3", "HEAD=linear BATCH_SIZE=16"])
    constants = {"TRAIN_PATH": posts_csv, "NUM_EPOCHS": 6, "EARLY_STOPPING_PATIENCE": 0, "RUN_TRIALS": True}
    with monkeypatch.context() as patch:
        interrupt_at(patch, 40)     # 36 steps make a trial
        status, _, errors = train(**constants)
    assert status == 130 and "--RUN_TRIALS=True" in errors.splitlines()[-1]
    began = (tmp_path / "run-trials" / "as it stands" / "metrics.jsonl").stat().st_mtime_ns
    status, screen, _ = train(**constants)
    assert status == 0
    assert (tmp_path / "run-trials" / "as it stands" / "metrics.jsonl").stat().st_mtime_ns == began    # not repeated
    assert "epoch 1, after 4 optimizer steps" in screen
    table = screen[screen.rindex("trial  "):].splitlines()
    scores = [float(line.split()[-2]) for line in table[1:4]]
    assert scores == sorted(scores, reverse=True) and table[1].startswith("LEARNING_RATE=5e-3")
    assert table[4].startswith("LinearSVC over TF-IDF") and table[5].startswith("always ")
    assert "one seed, 20 validation rows" in table[6]


def test_a_trial_is_not_taken_from_a_folder_whose_table_was_another(train, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "TRIALS", [""])
    table = write_csv(tmp_path / "posts.csv", posts(60))
    assert train(TRAIN_PATH=table, RUN_TRIALS=True)[0] == 0
    write_csv(table, posts(60, seed=1))
    status, _, errors = train(TRAIN_PATH=table, RUN_TRIALS=True)
    assert status == 2 and errors.count("\n") == 1 and "another training file" in errors and "OUTPUT_DIR" in errors
    table.unlink()
    status, _, errors = train(TRAIN_PATH=table, RUN_TRIALS=True)
    assert status == 2 and errors.count("\n") == 1 and "no such file" in errors


@pytest.mark.parametrize("constant, file", [("CORRECTIONS_PATH", "corrections"), ("SYNONYMS_PATH", "synonyms")])
def test_a_run_is_not_gone_on_with_where_what_changes_its_table_was_another(
        train, posts_csv, tmp_path, monkeypatch, constant, file):
    monkeypatch.setattr(script, "TRIALS", [""])
    [(text, label), *_] = posts(200)
    contents = {"CORRECTIONS_PATH": [f"line,text,corrected\n2,{text},{other}\n" for other in ("Positive", "Negative")],
                "SYNONYMS_PATH": ["phone, mobile\n", "phone, device\n"]}[constant]
    path = tmp_path / f"{file}.csv"
    options = {"TRAIN_PATH": posts_csv, constant: path, "AUGMENT": "synonyms" if file == "synonyms" else "",
               "RUN_TRIALS": True}
    path.write_text(contents[0])
    assert train(**options)[0] == 0
    path.write_text(contents[1])
    status, _, errors = train(**options)
    assert status == 2 and errors.count("\n") == 1 and f"begun with another {file} file than {path}" in errors


@on_both_devices
def test_what_a_run_sets_for_its_process_is_undone_behind_it(device, train, posts_csv):
    before = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    assert train(TRAIN_PATH=posts_csv, DETERMINISTIC=True)[0] == 0
    assert (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()) == before


def test_a_trial_that_fails_is_named_and_the_others_go_on(train, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "TRIALS", ["", "BATCH_SIZE=8"])
    train_epochs = script.train_epochs
    monkeypatch.setattr(script, "train_epochs", lambda data, learner, place, progress: train_epochs(
        data, learner, place, progress) if place.settings.BATCH_SIZE == 8 else torch.empty(10**15))
    status, screen, _ = train(TRAIN_PATH=write_csv(tmp_path / "posts.csv", posts(60)), RUN_TRIALS=True)
    assert status == 0 and re.search(r"as it stands +failed: out of memory: .*BATCH_SIZE=16", screen)
    assert re.search(r"^BATCH_SIZE=8 +1 ", screen, re.MULTILINE)
