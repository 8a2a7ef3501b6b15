"""What the checks of precision and evaluation promise, on records written by hand."""

import math

import pytest
from planned_records import check, clipped, falling, finding, head_only, passes, run, scaled

from diagnosis.record.record import Batch, Control, Crash, Module, Site
from diagnosis.verdict.finding import NotMeasured
from diagnosis.verdict.judge import judge


# ---- precision


def test_a_scaler_that_goes_on_skipping_is_found_and_one_that_finds_its_scale_is_healthy():
    found = finding("fp16-overflow", scaled(lambda index: index % 5 > 0))
    assert found.evidence["steps_skipped"] > 10
    passes("fp16-overflow", scaled(lambda index: index < 2))
    passes("fp16-overflow", scaled(lambda index: index < 9))       # begun with a far too high scale
    assert isinstance(check("fp16-overflow", run(scaler_used=True)), NotMeasured)


def test_skipping_for_losses_that_are_nan_is_non_finite():
    record = scaled(lambda index: True)
    for step, batch in zip(record.steps, record.batches):
        step.loss = batch.loss = math.nan
    passes("fp16-overflow", record)
    finding("non-finite", record)


def test_a_loss_that_is_infinite_only_times_the_scale_is_healthy():
    record = scaled(lambda index: index < 2, scale=3e38)
    for step in record.steps:
        step.loss = math.inf
    passes("non-finite", record)
    passes("fp16-overflow", record)


def test_a_loss_summed_over_the_batch_is_not_held_against_guessing():
    passes("lr-too-high", run(rate=2e-4, losses=lambda step: 22 - 0.3 * step))


def test_clipping_scaled_gradients_is_found_unless_the_limit_is_scaled_too():
    record = clipped(run(scaler_used=True), 1.0, 200_000.0, scaled=True, scale=65536.0)
    found = finding("clip-before-unscale", record)
    assert found.evidence["true_limit"] == pytest.approx(1.5e-5, rel=0.02)
    passes("clip-too-tight", record)
    passes("clip-before-unscale", clipped(run(), 65536.0, 200_000.0, scaled=True, scale=65536.0))
    passes("clip-before-unscale", clipped(run(), 1.0, 3.0, scaled=False, scale=65536.0))


def test_half_precision_weights_are_an_error_where_their_updates_round_away():
    record = run()
    for parameter in record.parameters:
        parameter.dtype = "bfloat16"
    for step in record.steps:
        step.unchanged_share = 0.84
    assert "84 %" in finding("half-weights", record).title
    for step in record.steps:
        step.unchanged_share = 0.1
    finding("half-weights", record, "warning")


def test_the_scalers_refusal_of_fp16_weights_is_explained():
    crash = Crash("ValueError", "Attempting to unscale FP16 gradients.", "", Site("t.py", 8))
    finding("half-weights", run(crash=crash))


def test_a_frozen_half_precision_encoder_and_autocast_are_healthy():
    record = head_only(1e-3, falling)
    record.parameters[0].dtype = "float16"
    passes("half-weights", record)
    passes("half-weights", run(autocast="bfloat16"))


def test_nan_from_the_first_loss_on_is_its_own_fault():
    record = run(losses=lambda step: math.nan)
    found = finding("non-finite", record)
    assert found.evidence["first_at_step"] == 0 and found.evidence["first_in"] == "loss"
    assert judge(record).findings[0].name == "non-finite"


def test_infinite_gradients_that_a_scaler_skips_are_healthy():
    record = scaled(lambda index: index < 2)
    record.steps[0].gradient_norm = record.steps[1].gradient_norm = math.inf
    passes("non-finite", record)


def test_one_nan_that_passes_is_a_warning():
    finding("non-finite", run(losses=lambda step: math.nan if step == 4 else falling(step)), "warning")


# ---- evaluation


def validation(record, training, count=4, gradient=False, **changes):
    for number in range(count):
        record.batches.append(Batch("validation", 20, 16, labels=[0, 1, 2, 3] * 4, outputs=4,
                                    encoder_training=training, head_training=training, gradient_enabled=gradient,
                                    site=Site("train.py", 70), **changes))
    return record


def test_validation_in_training_mode_is_an_error_since_its_figures_are_wrong():
    assert finding("eval-train-mode", validation(run(), True)).where == Site("train.py", 70)
    record = validation(run(), True)
    record.modules.append(Module("norm", "BatchNorm1d", "head"))
    finding("eval-train-mode", record)
    finding("eval-train-mode", validation(run(), True, gradient=True))


def test_validation_in_eval_mode_or_without_anything_to_switch_off_is_healthy():
    passes("eval-train-mode", validation(run(), False))
    record = validation(run(), True)
    record.modules = [Module("bert.dropout", "Dropout", "encoder", 0.0, True)]
    passes("eval-train-mode", record)


def test_a_pass_whose_backward_was_cut_off_or_that_tries_shapes_is_no_validation():
    cut = run()
    cut.batches.append(Batch("validation", 22, 16, encoder_training=True, head_training=True, gradient_enabled=True,
                             site=Site("train.py", 45)))
    assert isinstance(check("eval-train-mode", cut), NotMeasured)
    tried = run()
    tried.batches[:0] = [Batch("validation", 0, 16, encoder_training=True, head_training=True, gradient_enabled=False)]
    assert isinstance(check("eval-train-mode", tried), NotMeasured)


def one_class(record):
    for batch in record.batches:
        batch.logits = [[0.1, 0.5 + 0.01 * row, 0.2, 0.0] for row in range(16)]
    return record


def test_one_predicted_class_is_reported_only_where_learning_has_stopped():
    flat = lambda step: 1.386 + 0.01 * (-1) ** step
    passes("majority-class", one_class(run(losses=flat)))           # a healthy beginning may look so
    record = one_class(run(losses=flat, controls=[Control("own-optimizer", "?", False)]))
    found = finding("majority-class", record, "warning")
    assert found.evidence["share_of_labels"] == 0.25
    finding("majority-class", one_class(run(losses=flat, rate=0.0)), "warning")


def test_class_weights_that_leave_one_class_as_the_only_cheap_answer_are_named():
    record = one_class(run(losses=lambda step: 0.4 - 0.005 * step))
    for batch in record.batches_of("training"):
        batch.class_weights = [0.1, 100.0, 0.1, 0.1]
    assert "class weights" in finding("majority-class", record, "warning").evidence["sign"]
    for batch in record.batches_of("training"):
        batch.class_weights = [1.0, 2.0, 1.0, 1.0]
    passes("majority-class", record)


def test_one_predicted_class_stands_behind_its_cause():
    record = one_class(run(losses=lambda step: 1.386, rate=0.0))
    names = [finding.name for finding in judge(record).findings]
    assert names.index("lr-zero") < names.index("majority-class")


def test_predictions_of_one_class_are_right_where_the_labels_are_one_class():
    record = one_class(run(rate=0.0))
    for batch in record.batches:
        batch.labels = [1] * 15 + [0]
    passes("majority-class", record)
