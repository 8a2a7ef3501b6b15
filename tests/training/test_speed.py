"""What is not computed: padding, and frozen layers a second time; and that the results are the same without."""

import copy
import json
import math
from types import SimpleNamespace

import numpy
import pretended
import pytest
import torch
from conftest import metrics, on_both_devices, on_cuda, tiny_bert
from test_model import TINY
from test_training import loader_of, random_rows, setup, small_model
from torch.nn.functional import cross_entropy
from transformers import (AutoModel, BertConfig, DistilBertConfig, ElectraConfig, ModernBertConfig, MPNetConfig,
                          RobertaConfig)

import BERT_main_aggressive as script
from BERT_model_aggressive import BertSentimentClassifier
from training.encoder import end_to_end as end_to_end_module, frozen, processor
from training.encoder.end_to_end import QUERY, end_to_end, row_length
from training.encoder.finding import encoder_layers
from training.encoder.frozen import BottomStates, seeing_bottom
from training.encoder.processor import attend_on_cpu, draw_dropout_quickly, multiply_quickly, processor_features
from training.precision import choose_precision
from training.run.optimization import Learner, batch_loss
from training.run.team import Team

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
FAMILIES = {
    "bert": BertConfig(**TINY, **STILL), "roberta": RobertaConfig(**TINY, **STILL),
    "electra": ElectraConfig(**TINY, **STILL, embedding_size=16),
    "distilbert": DistilBertConfig(vocab_size=100, dim=32, n_layers=4, n_heads=2, hidden_dim=64, dropout=0.0,
                                   attention_dropout=0.0)}


def classifier(config, strategy="none"):
    torch.manual_seed(0)
    encoder = AutoModel.from_config(copy.deepcopy(config))      # a model writes its attention into its configuration
    return BertSentimentClassifier(encoder=encoder, freeze_strategy=strategy, dropout=0.0)


def batch_of(config, lengths=(12, 5, 5, 9, 3, 1), device="cpu"):
    draw, lengths = torch.Generator().manual_seed(1), torch.tensor(lengths)
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    ids = torch.randint(5, 100, mask.shape, generator=draw)
    ids = ids.where(mask.bool(), config.pad_token_id or 0)
    return ids.to(device), mask.to(device), end_to_end(lengths, ids.shape[1]).to(device)


def logits_and_gradients(model, *inputs, **named):
    model.train()
    model.zero_grad()
    logits = model(*inputs, **named)
    cross_entropy(logits, torch.arange(len(logits), device=logits.device) % 4).backward()
    # A bias of all keys shifts each query's scores alike: its true gradient is zero, and what is computed is rounding.
    return logits.detach(), {name: one.grad.clone() for name, one in model.named_parameters()
                             if one.grad is not None and not name.endswith(("key.bias", "k_lin.bias"))}


def assert_alike(one, other):
    torch.testing.assert_close(one[0], other[0], rtol=1e-5, atol=1e-6)
    assert one[1].keys() == other[1].keys()
    for name in one[1]:
        torch.testing.assert_close(one[1][name], other[1][name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.fixture
def torchs_products():
    """torch's own way of multiplying, before the test and after it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


# Texts end to end

@pytest.mark.parametrize("strategy", ["none", "embed", "half", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_texts_end_to_end_give_the_logits_and_gradients_of_padded_ones(family, strategy):
    config = FAMILIES[family]
    model, (ids, mask, layout) = classifier(config, strategy), batch_of(config)
    padded = logits_and_gradients(model, ids, mask)
    assert model.run_end_to_end() == ""
    shapes, top = [], encoder_layers(model.encoder)[-1]
    [query] = [one for name, one in top.named_modules() if name in QUERY]
    for part in (top, query):
        part.register_forward_hook(lambda part, given, output: shapes.extend([given[0].shape, output.shape]))
    assert_alike(logits_and_gradients(model, ids, mask, layout), padded)
    # 35 tokens, filled up to a multiple of 16, and not the 72 positions of padded rows; in the top layer the first tokens
    # of the 6 texts ask and go on
    assert shapes == [(1, 6, 32), (1, 6, 32), (1, 48, 32), (1, 6, 32)]
    assert_alike(logits_and_gradients(model, ids, mask), padded)        # without a layout, as padded rows


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_of_one_length_need_no_padding_for_attention_either(family):
    config = FAMILIES[family]
    model, (ids, mask, layout) = classifier(config), batch_of(config, (7, 7, 7, 7))
    padded = logits_and_gradients(model, ids, mask)
    assert model.run_end_to_end() == ""
    assert_alike(logits_and_gradients(model, ids, mask, layout), padded)


@pytest.mark.parametrize("lengths, positions", [((12, 5, 3), 32), ((12, 3, 1), 16), ((7, 7, 7), 21), ((3,), 3)])
def test_only_texts_of_different_lengths_are_filled_up(lengths, positions):
    lengths = torch.tensor(lengths)
    layout = end_to_end(lengths, int(lengths.max()))
    assert row_length(lengths) == len(layout.places) == len(layout.positions) == positions
    real = torch.arange(int(lengths.max())) < lengths[:, None]
    assert layout.places[:lengths.sum()].tolist() == real.flatten().nonzero().flatten().tolist()
    assert not real.flatten()[layout.places[lengths.sum():]].any()


def test_what_fills_the_row_changes_nothing(monkeypatch):
    model = classifier(FAMILIES["bert"])
    assert model.run_end_to_end() == ""
    filled = logits_and_gradients(model, *batch_of(FAMILIES["bert"]))
    monkeypatch.setattr(end_to_end_module, "ROW_MULTIPLE", 1)
    assert_alike(logits_and_gradients(model, *batch_of(FAMILIES["bert"])), filled)


@on_both_devices
def test_one_encoder_of_each_kind_gives_the_same_end_to_end_and_above_its_frozen_layers(device):
    for family in ("bert", "distilbert"):
        config = FAMILIES[family]
        model, (ids, mask, layout) = classifier(config, "half").to(device), batch_of(config, device=device)
        with seeing_bottom(model.encoder) as seen:
            padded = logits_and_gradients(model, ids, mask)
        assert model.run_end_to_end() == ""
        assert_alike(logits_and_gradients(model, ids, mask, layout), padded)
        assert_alike(logits_and_gradients(model, ids, mask, layout, bottom=seen[0]), padded)


def test_a_text_end_to_end_does_not_see_its_neighbours():
    model = classifier(FAMILIES["bert"]).eval()
    model.run_end_to_end()
    ids, mask, layout = batch_of(FAMILIES["bert"])
    changed = ids.clone()
    changed[1, :5] = 7
    before, after = model(ids, mask, layout), model(changed, mask, layout)
    assert torch.equal(before[[0, 2, 3, 4, 5]], after[[0, 2, 3, 4, 5]]) and not torch.equal(before[1], after[1])


@pytest.mark.parametrize("config, why", [
    (ModernBertConfig(**TINY, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2),
     "its attention has a sliding_window"),
    (MPNetConfig(**TINY), "its states would be")])
def test_an_encoder_that_cannot_run_texts_end_to_end_keeps_its_padding_and_says_why(config, why):
    model, (ids, mask, layout) = classifier(config).eval(), batch_of(config)
    wanted = model(ids, mask)
    assert why in model.run_end_to_end()
    assert torch.equal(model(ids, mask, layout), wanted)


def test_training_computes_no_padding_and_learns_what_it_learns_with_it(train, tmp_path, posts_csv, monkeypatch):
    constants = {"TRAIN_PATH": posts_csv, "NUM_EPOCHS": 2, "DROPOUT": 0, "LEARNING_RATE": 1e-3}
    still = tiny_bert(tmp_path / "still", **STILL)
    status, screen, _ = train(**constants, MODEL_NAME=still)
    assert status == 0 and "padding    none computed outside attention" in screen
    monkeypatch.setattr(BertSentimentClassifier, "run_end_to_end", lambda model: "it was asked not to")
    status, screen, _ = train(**constants, MODEL_NAME=still, OUTPUT_DIR=tmp_path / "padded")
    assert status == 0 and "BertModel cannot run texts end to end: it was asked not to" in screen
    for unpadded, padded in zip(metrics(tmp_path / "run"), metrics(tmp_path / "padded")):
        assert unpadded["padding_share"] < padded["padding_share"]
        for figure in ("train_loss", "val_loss"):
            assert unpadded[figure] == pytest.approx(padded[figure], abs=1e-3)      # rounding, after six steps


def test_a_model_trained_end_to_end_is_saved_as_any_other(train, tmp_path, posts_csv):
    assert train(TRAIN_PATH=posts_csv)[0] == 0
    assert "text_by_text" not in (tmp_path / "run" / "best" / "config.json").read_text()
    labels, _ = BertSentimentClassifier.from_pretrained(tmp_path / "run" / "best").predict(["the phone is great"])
    assert len(labels) == 1


def epoch_without_waits(rows, strategy="none", enable_fp16=True, steps=20, layout_of=end_to_end, pooling="auto",
                        **changes):
    """The figures of an epoch on CUDA in whose middle steps torch raises where the host waits for the device."""
    model = small_model(freeze_strategy=strategy, pooling=pooling).cuda()
    assert model.run_end_to_end() == ""
    if rows.bottom:
        model.hold_bottom_still()
    precision, loader = choose_precision(enable_fp16), loader_of(rows, 8, layout_of=layout_of)
    optimizer, schedule, _ = setup(model, loader)
    learner = Learner(model, optimizer, schedule, precision, precision.scaler(), **changes)
    taken, pageable = [], []

    def after_step(watch):
        taken.append(1)
        pageable.append(pretended.pageable_copies() if pretended.is_here() else 0)
        torch.cuda.set_sync_debug_mode("error" if 3 < len(taken) < steps - 2 else "default")

    try:
        seen = script.train_epoch(learner, loader, on_step=after_step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(taken) == steps
    assert pageable[3] == pageable[-3], "copies were made from memory that is not pinned"
    return seen


@on_cuda
@pytest.mark.parametrize("changes", [
    {}, {"weights": True}, {"label_smoothing": 0.1}, {"weights": True, "label_smoothing": 0.1}, {"max_grad_norm": 0},
    {"enable_fp16": False}, {"accumulation": 2, "steps": 10}], ids=lambda changes: " ".join(changes))
def test_on_cuda_no_step_waits_for_the_device(changes):
    changes = dict(changes)
    if changes.pop("weights", False):
        changes["loss_weights"] = torch.tensor([0.5, 1.0, 2.0, 4.0], device="cuda")
    epoch_without_waits(random_rows(160), **changes)


@on_cuda
@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 2.0, 4.0)])
def test_on_cuda_the_loss_of_several_processes_waits_for_nothing(monkeypatch, weights):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)       # NCCL's, which wants several GPUs
    logits, labels = torch.zeros(4, 4, device="cuda"), torch.arange(4, device="cuda")
    learner = SimpleNamespace(loss_weights=None if weights is None else torch.tensor(weights, device="cuda"),
                              label_smoothing=0.1, team=Team(0, 2))
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = batch_loss(logits, labels, learner, [])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.item() == pytest.approx(2 * math.log(4))    # of which each process has half the rows


@on_cuda
def test_on_cuda_no_step_waits_while_the_frozen_layers_are_learned_nor_where_they_are_known():
    rows = random_rows(160)
    rows.bottom = BottomStates(rows.starts, 32, numpy.float16)
    epoch_without_waits(rows, "half")
    assert rows.bottom.known.all() and numpy.isfinite(rows.bottom.states).all()
    epoch_without_waits(rows, "half")


def test_an_error_that_says_nothing_of_the_encoder_is_not_taken_for_its_refusal(monkeypatch):
    model = classifier(FAMILIES["bert"])

    before = model.encoder.config._attn_implementation

    def short_of_memory(*arguments):
        torch.empty(10**15)

    monkeypatch.setattr(model, "pooled_end_to_end", short_of_memory)
    with pytest.raises(RuntimeError, match="allocate"):
        model.run_end_to_end()
    assert model.first_position is None and model.encoder.config._attn_implementation == before


def test_the_check_of_texts_end_to_end_does_not_depend_on_what_a_run_before_left(torchs_products, monkeypatch):
    model, seen = classifier(FAMILIES["bert"]), []
    model.encoder.register_forward_hook(lambda *given: seen.append(torch.get_float32_matmul_precision()))
    torch.set_float32_matmul_precision("high")
    assert model.run_end_to_end() == "" and set(seen) == {"highest"}
    assert torch.get_float32_matmul_precision() == "high"


# Dropout on a CPU

@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5])
def test_dropout_drops_and_keeps_as_torchs_does(probability):
    torch.manual_seed(0)
    model = classifier(BertConfig(**TINY, hidden_dropout_prob=probability)).train()
    draw_dropout_quickly(model)
    dropout = model.encoder.embeddings.dropout
    assert isinstance(dropout, torch.nn.Dropout) and dropout.p == probability
    states = torch.ones(1000, 999, requires_grad=True)
    dropped = dropout(states)
    dropped.sum().backward()
    assert torch.equal(dropped, states.grad)
    zero = (dropped == 0).float()
    assert zero.mean() == pytest.approx(probability, abs=0.002)
    assert zero.mean(dim=0).std() == pytest.approx((probability * (1 - probability) / 1000) ** 0.5, rel=0.1)
    assert zero.mean(dim=1).std() == pytest.approx((probability * (1 - probability) / 999) ** 0.5, rel=0.1)
    torch.testing.assert_close(dropped[dropped != 0], torch.full_like(dropped[dropped != 0], 1 / (1 - probability)),
                               rtol=1e-4, atol=0)
    assert not torch.equal(dropped, dropout(states))
    assert torch.equal(dropout.eval()(states), states)


@pytest.mark.parametrize("heads_at_once", [2, 3])
def test_attention_on_a_cpu_is_torchs_but_for_the_draw_of_its_dropout(heads_at_once, monkeypatch):
    heads, texts, width = 3, 3, 7
    monkeypatch.setattr(processor, "SCORES_AT_ONCE", heads_at_once * texts * width ** 2)
    draw = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(heads, texts, width, 16, generator=draw) for _ in range(3))
    for real in ((torch.arange(width) < torch.tensor([7, 4, 1])[:, None])[None, :, None], None):
        wanted = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=real)
        torch.testing.assert_close(attend_on_cpu(query, key, value, real, 0.0, None), wanted)
        many = torch.stack([attend_on_cpu(query, key, value, real, 0.1, None) for _ in range(1500)])
        torch.testing.assert_close(many.mean(dim=0), wanted, rtol=0, atol=0.05)
        assert many[..., :6, :].std(dim=0).max() > 0.1


# Matrix products on a CPU

def test_products_stay_as_exact_as_float32(torchs_products):
    multiply_quickly()
    left, right = torch.randn(500, 384), torch.randn(384, 1536)
    exact = left.double() @ right.double()
    assert ((left @ right - exact).norm() / exact.norm()) < 1e-6


@pytest.mark.skipif("AuthenticAMD" not in processor_features(), reason="on an AMD processor only")
def test_products_are_torchs_own_where_others_would_be_rounded(torchs_products, monkeypatch):
    monkeypatch.setattr(processor, "PRODUCT_ROUNDING", 0)      # no float32 is as exact as that
    multiply_quickly()
    assert torch.get_float32_matmul_precision() == "highest"
    monkeypatch.undo()
    multiply_quickly()
    assert torch.get_float32_matmul_precision() == "medium"     # the leave to round, of which no use is made


def test_products_are_torchs_own_on_another_processor(torchs_products, monkeypatch):
    monkeypatch.setattr(processor, "processor_features", lambda: "GenuineIntel")
    multiply_quickly()
    assert torch.get_float32_matmul_precision() == "highest"


# Frozen layers, once

@pytest.mark.parametrize("unpadded", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("strategy, trained", [("half", 2), ("full", 1)])
def test_what_the_frozen_layers_gave_stands_for_them(family, strategy, trained, unpadded):
    config = FAMILIES[family]
    model, (ids, mask, layout) = classifier(config, strategy), batch_of(config)
    assert not unpadded or model.run_end_to_end() == ""
    with seeing_bottom(model.encoder) as seen:
        whole = logits_and_gradients(model, ids, mask, layout)
    [states] = seen
    if unpadded:
        states, tokens = torch.zeros(*ids.shape, 32), states[0]
        states[mask.bool()] = tokens[:mask.sum()]
    layers = list(encoder_layers(model.encoder))
    run = []
    for layer in layers:
        layer.register_forward_hook(lambda layer, given, output: run.append(layer))
    assert_alike(logits_and_gradients(model, ids, mask, layout, bottom=states), whole)
    assert run == layers[-trained:] and list(encoder_layers(model.encoder)) == layers


def first_layer_calls(monkeypatch):
    """A list of (training or validation, calls of the first layer) of each pass that the script makes from now on."""
    passes, calls = [], []
    for name in ("train_epoch", "evaluate"):
        original = getattr(script, name)

        def counted(learner, *others, original=original, name=name):    # evaluate is given the model itself
            model = getattr(learner, "model", learner)
            hook = encoder_layers(model.encoder)[0].register_forward_hook(lambda *given: calls.append(1))
            del calls[:]
            result = original(learner, *others)
            hook.remove()
            passes.append((name, len(calls)))
            return result
        monkeypatch.setattr(script, name, counted)
    return passes


@on_both_devices
def test_a_run_computes_its_frozen_layers_in_the_first_epoch_only(device, train, posts_csv, tmp_path, monkeypatch):
    passes = first_layer_calls(monkeypatch)
    constants = {"TRAIN_PATH": posts_csv, "FREEZE_STRATEGY": "half", "NUM_EPOCHS": 3, "BATCH_SIZE": 60}
    status, screen, _ = train(**constants)
    assert status == 0 and "the 1 frozen layers run once for each text, without dropout" in screen
    assert passes == [("train_epoch", 3), ("evaluate", 1)] + [("train_epoch", 0), ("evaluate", 0)] * 2
    del passes[:]
    assert train(**constants, CACHE_FROZEN_LAYERS=False, OUTPUT_DIR=tmp_path / "without")[0] == 0
    assert passes == [("train_epoch", 3), ("evaluate", 1)] * 3


def test_states_that_outgrow_memory_go_to_the_disk_and_leave_nothing_there(train, posts_csv, tmp_path, monkeypatch):
    # BatchNorm would magnify rounding here: texts are hardly told apart by random weights
    constants = {"TRAIN_PATH": posts_csv, "FREEZE_STRATEGY": "half", "NUM_EPOCHS": 2, "HEAD": "linear"}
    assert train(**constants)[0] == 0
    monkeypatch.setattr(frozen, "CACHE_MEMORY", 0)
    status, screen, _ = train(**constants, OUTPUT_DIR=tmp_path / "disk")
    assert status == 0 and f"in fp16 on the disk of {tmp_path}" in screen
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "posts.csv", "run"]
    for memory, disk in zip(metrics(tmp_path / "run"), metrics(tmp_path / "disk")):
        assert disk["train_loss"] == pytest.approx(memory["train_loss"], abs=1e-3)
    assert (json.loads((tmp_path / "run" / "config.json").read_text())["constants"]["CACHE_FROZEN_LAYERS"]) is True


@pytest.mark.parametrize("constants, why", [({"NUM_EPOCHS": 1}, "one epoch would not read it"),
                                            ({"AUGMENT": "swap"}, "AUGMENT changes the texts in each epoch")])
def test_frozen_layers_are_not_kept_where_that_would_not_pay(train, posts_csv, constants, why):
    status, screen, _ = train(**{"TRAIN_PATH": posts_csv, "FREEZE_STRATEGY": "full", "NUM_EPOCHS": 2} | constants)
    assert status == 0 and f"cache      off: {why}" in screen
