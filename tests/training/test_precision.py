"""Mixed precision: on a CPU bfloat16 where a timed product says so, kept in a run that is resumed."""

import math

import pytest
import torch
from conftest import metrics, posts, write_csv
from test_reliability import assert_same, interrupt_at
from test_speed import FAMILIES, batch_of, classifier
from test_training import bf16

from training import precision
from training.precision import bfloat16_gain, choose_precision     # as it is, before conftest.py has float32 win


def gain_of(monkeypatch, gain):
    monkeypatch.setattr(precision, "bfloat16_gain", lambda: gain)


def test_a_product_is_timed_and_draws_no_random_number():
    before = torch.get_rng_state()
    assert 0 < bfloat16_gain() < math.inf
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("gain, begun, name, reason", [
    (2.04, None, "bf16", "autocast, weights stay fp32; bfloat16 products are 2 times as fast as float32 ones here"),
    (0.09, None, "fp32", "bfloat16 products are 0.09 times as fast as float32 ones here"),
    (1.1, None, "fp32", "bfloat16 products are 1.1 times as fast as float32 ones here"),
    (1.1, "bf16", "bf16", "autocast, weights stay fp32; bfloat16 products are 1.1 times as fast as float32 ones here; "
                          "kept as the run was begun"),
    (0.9, "bf16", "fp32", "bfloat16 products are 0.9 times as fast as float32 ones here"),
    (3.0, "fp32", "fp32", "bfloat16 products are 3 times as fast as float32 ones here; kept as the run was begun"),
    (3.0, "fp16", "bf16", "autocast, weights stay fp32; bfloat16 products are 3 times as fast as float32 ones here")])
def test_a_cpu_computes_in_bfloat16_where_it_pays_and_a_resumed_run_as_it_was_begun(
        monkeypatch, gain, begun, name, reason):
    gain_of(monkeypatch, gain)
    chosen = choose_precision(True, begun)
    assert (chosen.name, chosen.reason) == (name, reason)
    assert (chosen.dtype, chosen.scaler().is_enabled()) == (torch.bfloat16 if name == "bf16" else None, False)


def test_mixed_precision_that_is_turned_off_is_not_timed(monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_gain", None)
    chosen = choose_precision(False)
    assert (chosen.name, chosen.dtype, chosen.reason) == ("fp32", None, "ENABLE_FP16 is off")


def test_texts_end_to_end_give_in_bfloat16_what_padded_rows_give():
    model, (ids, mask, layout) = classifier(FAMILIES["bert"]).eval(), batch_of(FAMILIES["bert"])
    assert model.run_end_to_end() == ""
    with torch.no_grad(), bf16("cpu").autocast():
        rows, end_to_end = model.pooled(ids, mask), model.pooled_end_to_end(ids, layout)
    assert (rows - end_to_end).norm() < 0.02 * rows.norm()


CONSTANTS = {"BATCH_SIZE": 16, "NUM_EPOCHS": 2, "SAVE_EVERY": 3}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("table") / "posts.csv", posts(120))


def test_a_run_in_bfloat16_resumed_ends_bit_for_bit_and_elsewhere_says_what_differs(
        train, table, tmp_path, monkeypatch):
    constants, screens = {"TRAIN_PATH": table} | CONSTANTS, {}
    for run, then in {"whole": 2.0, "kept": 1.1, "elsewhere": 0.5}.items():
        gain_of(monkeypatch, 2.0)
        with monkeypatch.context() as patch:
            if run != "whole":
                interrupt_at(patch, 9)
            status, screen, _ = train(**constants, OUTPUT_DIR=tmp_path / run)
        assert status == (0 if run == "whole" else 130) and "\nprecision  bf16    autocast, weights stay fp32" in screen
        if run != "whole":
            gain_of(monkeypatch, then)
            status, screens[run], _ = train(**constants, OUTPUT_DIR=tmp_path / run, RESUME=True)
            assert status == 0 and "epoch 2, after 9 optimizer steps" in screens[run]
    assert_same(tmp_path / "whole", tmp_path / "kept")
    differs = "begun on cpu in bf16, going on on cpu in fp32: the figures will not be the same bit for bit"
    assert differs in screens["elsewhere"] and "going on" not in screens["kept"]
    losses = [metrics(tmp_path / run)[-1]["val_loss"] for run in ("whole", "elsewhere")]
    assert losses[0] != losses[1] == pytest.approx(losses[0], abs=0.05)


def test_frozen_layers_run_once_in_bfloat16_too(train, table, monkeypatch):
    gain_of(monkeypatch, 2.0)
    status, screen, _ = train(TRAIN_PATH=table, FREEZE_STRATEGY="half", **CONSTANTS)
    assert status == 0 and "the 1 frozen layers run once" in screen and "loaded again: probabilities of" in screen
