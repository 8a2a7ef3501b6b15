"""Errors that only CUDA shows, planted one by one in the training's own source: each must be caught."""

import inspect
import sys
import textwrap

import numpy
import pretended
import pytest
import torch
from conftest import on_cuda
from test_reliability import assert_same, interrupt_at, reference, references, small     # noqa: F401 (fixtures)
from test_speed import epoch_without_waits
from test_training import random_rows

import BERT_main_aggressive as script
import BERT_model_aggressive as model_module
from training.encoder import end_to_end as end_to_end_module
from training.encoder.end_to_end import EndToEnd
from training.encoder.frozen import BottomStates
from training.run import state
from training.run.tally import Watch

pytestmark = pytest.mark.skipif(not pretended.is_here(), reason="of the pretended device alone: a GPU shows some by chance")

TWO_DEVICES, WAITS = "at least two devices, cuda:0 and cpu", "synchronizing CUDA operation"
LABELS = 'batch["labels"].to(device, non_blocking=True)'
INPUTS = "batch[name].to(precision.device, non_blocking=True)"

# what: owner of the function, its name, what stands in its source, what is planted there, what is said of it
PLANTED = {
    "labels left on the CPU": (script, "train_epoch", LABELS, 'batch["labels"]', TWO_DEVICES),
    "a copy that waits": (script, "train_epoch", LABELS, 'batch["labels"].to(device)', WAITS),
    "the loss fetched at each step": (script, "train_epoch", "tally.add(", "loss.item(); tally.add(", WAITS),
    "ids left on the CPU": (script, "logits_of", INPUTS, f'(batch[name] if name == "input_ids" else {INPUTS})',
                            "on the same device as the indexed tensor"),
    "the layout left on the CPU": (
        EndToEnd, "to", "tensor.to(device, non_blocking=True)", "tensor", TWO_DEVICES),
    "the layout not pinned": (
        EndToEnd, "pin_memory", "self.with_tensors(torch.Tensor.pin_memory)", "self", "from memory that is not pinned"),
    "torch's mean loss with both options": (script, "batch_loss", 'reduction="sum"', 'reduction="mean"', WAITS),
    "flags read before they arrived": (Watch, "look", "arrived.synchronize()", "pass", "the loss is not finite"),
    "rows kept in float32": (
        end_to_end_module, "attend_text_by_text", "tokens.new_zeros(len(tokens), texts * width, tokens.shape[2])",
        "torch.zeros(len(tokens), texts * width, tokens.shape[2], device=tokens.device)", "same dtype"),
    "first queries in float32": (
        model_module, "ending_with_first_tokens", "queries.new_zeros(1, len(layout.places), queries.shape[2])",
        "torch.zeros(1, len(layout.places), queries.shape[2], device=queries.device)", "same dtype"),
}


def plant(monkeypatch, owner, name, right, wrong):
    """Put a function in the place of its like whose source has the one text where the other stood."""
    original = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(original)))
    assert right in source, "the source has changed: plant the error where it belongs now"
    space = dict(vars(sys.modules[original.__module__]))
    exec(source.replace(right, wrong), space)
    monkeypatch.setattr(owner, name, space[name])


def epoch(what):
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0], device="cuda")
    options = {"loss_weights": weights, "label_smoothing": 0.1} if "options" in what else {}
    return epoch_without_waits(random_rows(96), steps=12, **options)


@on_cuda
@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_error_is_caught(device, what, monkeypatch):
    owner, name, right, wrong, said = PLANTED[what]     # as it is nothing is said: test_speed.py
    plant(monkeypatch, owner, name, right, wrong)
    with pytest.raises(Exception, match=said):
        epoch(what)


@on_cuda
def test_a_mask_left_on_the_cpu_of_padded_rows_makes_transformers_wait_for_its_copy(device, monkeypatch):
    plant(monkeypatch, script, "logits_of", INPUTS, f'(batch[name] if name == "attention_mask" else {INPUTS})')
    with pytest.raises(RuntimeError, match=WAITS):
        epoch_without_waits(random_rows(96), steps=12, layout_of=None)


@on_cuda
def test_states_of_frozen_layers_that_are_read_before_they_arrived_are_no_numbers(device, monkeypatch):
    plant(monkeypatch, BottomStates, "arrive", "arrived.synchronize()", "pass")
    rows = random_rows(96)
    rows.bottom = BottomStates(rows.starts, 32, numpy.float16)
    epoch_without_waits(rows, "half", steps=12)
    assert not numpy.isfinite(rows.bottom.states).all()


@on_cuda
def test_a_state_saved_without_the_devices_random_numbers_goes_on_as_another_run(
        device, train, reference, tmp_path, monkeypatch):      # noqa: F811
    table, run = reference
    plant(monkeypatch, state, "random_states", "torch.cuda.get_rng_state() if torch.cuda.is_available() else None", "None")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        assert train(TRAIN_PATH=table, **small(device))[0] == 130
    assert train(TRAIN_PATH=table, RESUME=True, **small(device))[0] == 0
    with pytest.raises(AssertionError):
        assert_same(tmp_path / "run", run)
