"""What the checks of the model say of records written by hand: encoder, freezing, head, dropout, BatchNorm."""

import pytest
from healthy_records import (LINE, crashed, every_batch, found, from_configuration, healthy, not_measured, passes,
                             relabelled, split_of, training_batch)

from diagnosis.faults import majority_class
from diagnosis.record.record import FreezeAct, Module, OtherTokenizer, Site
from diagnosis.verdict.conclusion import not_examined
from diagnosis.verdict.judge import judge


# encoder-random


def test_a_second_tokenizer_that_reads_new_texts_otherwise_misleads():
    record = healthy()
    record.tokenizer.other = OtherTokenizer("tmp/vocab.txt", 0.95, 0.01, 200, LINE)
    passes("tokenizer-mismatch", record)
    record.tokenizer.other = OtherTokenizer("tmp/vocab.txt", 0.03, 0.16, 200, LINE)
    finding = found("tokenizer-mismatch", record, "error")
    assert (finding.effect, finding.where) == ("misleads", LINE) and "97 % of its texts" in finding.title


def test_an_encoder_without_checkpoint_that_does_not_learn_is_an_error():
    record = every_batch(from_configuration(healthy()), loss=1.39)
    evidence = found("encoder-random", record, "error").evidence
    assert evidence["loaded_from"] == "no checkpoint" and evidence["unit_norm_share"] == 1.0


def test_an_encoder_trained_from_scratch_on_purpose_is_a_warning():
    found("encoder-random", every_batch(from_configuration(healthy(), hidden_size=64), loss=1.39), "warning")
    record = from_configuration(healthy())
    for batch in record.batches:
        batch.loss = 1.4 - 0.06 * batch.step
    found("encoder-random", record, "warning")


def test_a_checkpoint_whose_names_did_not_fit_is_told():
    record = every_batch(healthy(), loss=1.39)
    record.encoder.missing_weights, record.encoder.zero_bias_share, record.encoder.unit_norm_share = 197, 0.98, 1.0
    assert found("encoder-random", record, "error").evidence["missing_tensors"] == 197


def test_weights_initialised_again_after_loading_are_told_by_their_spread():
    record = every_batch(healthy(), loss=1.39)
    for parameter in record.parameters:
        parameter.std = 0.02001
    found("encoder-random", record, "error")


def test_a_missing_pooler_and_one_layer_set_anew_are_healthy():
    record = healthy()
    record.encoder.missing_weights, record.encoder.zero_bias_share = 2, 0.014
    passes("encoder-random", record)
    record.encoder.zero_bias_share = record.encoder.unit_norm_share = 0.17
    passes("encoder-random", record)


# encoder-frozen


def frozen(record, layers):
    for parameter in record.parameters:
        if parameter.part == "embeddings" or parameter.part in {f"layer {number}" for number in range(layers)}:
            parameter.trainable, parameter.gradient_norms = False, [None] * 3
    return record


def test_nine_of_twelve_frozen_layers_are_healthy():
    passes("encoder-frozen", frozen(healthy(), 9))
    passes("gradient-blocked", frozen(healthy(), 9))


def test_an_encoder_that_is_trained_after_a_first_stage_is_not_frozen():
    record = every_batch(frozen(healthy(), 12), loss=1.39)
    record.parameters[-5].change = 0.02
    passes("encoder-frozen", record)


def test_a_frozen_encoder_is_a_warning_while_the_head_learns_and_an_error_when_it_does_not():
    record = frozen(healthy(), 12)
    found("encoder-frozen", record, "warning")
    every_batch(record, loss=1.39)
    found("encoder-frozen", record, "warning")      # the script's own optimizer learns a batch
    record.controls[-1].outcome = False
    evidence = found("encoder-frozen", record, "error").evidence
    assert evidence["trainable_encoder_layers"] == 0 and evidence["trainable_parts"] == ["head", "pooler"]


def test_nothing_trainable_at_all_is_an_error():
    record = healthy()
    for parameter in record.parameters:
        parameter.trainable = False
    found("encoder-frozen", record, "error")


# freeze-ineffective


def act(kind, **facts):
    return FreezeAct(Site("train.py", 7, "model.bert.requires_grad = False"), kind, **facts)


@pytest.mark.parametrize("kind, facts", [("module", {"tensors": 199, "in_model": 199}), ("misspelt", {"tensors": 197}),
                                         ("parameter", {"tensors": 197, "in_model": 0})])
def test_lines_that_freeze_nothing_are_told_with_their_place(kind, facts):
    record = healthy()
    record.freezes = [act(kind, **facts)]
    finding = found("freeze-ineffective", record, "warning")
    assert finding.where.line == 7 and finding.evidence["of_these_frozen"] == 0


def test_freezing_that_works_or_is_taken_back_is_healthy():
    record = frozen(healthy(), 9)
    record.freezes = [act("parameter", tensors=150, in_model=150, still_frozen=150)]
    passes("freeze-ineffective", record)
    record = healthy()
    record.freezes = [act("parameter", tensors=199, in_model=197, still_frozen=0)]
    passes("freeze-ineffective", record)


def test_a_useless_line_beside_one_that_freezes_all_and_a_frozen_teacher_are_no_fault():
    record = frozen(healthy(), 12)
    record.parameters[-2].trainable = False     # the pooler
    record.freezes = [act("module", tensors=199, in_model=199)]
    passes("freeze-ineffective", record)
    record = healthy()
    record.freezes = [FreezeAct(Site("train.py", 7, "for p in teacher.parameters(): p.requires_grad = False"),
                                "parameter", tensors=199)]
    passes("freeze-ineffective", record)


# gradient-blocked


def blocked(record, layers, norm=None):
    for parameter in record.parameters:
        if parameter.part == "embeddings" or parameter.part in {f"layer {number}" for number in layers}:
            parameter.gradient_norms = [norm] * 3
    return record


def test_a_detached_encoder_and_one_under_no_grad_are_told():
    evidence = found("gradient-blocked", blocked(healthy(), range(12)), "error").evidence
    assert evidence["layers_without_gradient"] == 12
    found("gradient-blocked", blocked(healthy(), range(12), norm=0.0), "error")
    record = every_batch(blocked(healthy(), range(12)), gradient_enabled=False)
    assert "no_grad" in found("gradient-blocked", record, "error").title


def test_a_cut_below_the_top_layers_is_a_warning_if_it_is_low():
    found("gradient-blocked", blocked(healthy(), range(3)), "warning")
    found("gradient-blocked", blocked(healthy(), range(9)), "error")


def test_an_unused_top_layer_and_an_unused_pooler_are_healthy():
    passes("gradient-blocked", blocked(healthy(), [11]))


def test_a_loss_without_any_gradient_is_not_blamed_on_the_way_to_the_encoder():
    record = healthy()
    for parameter in record.parameters:
        parameter.gradient_norms = [0.0] * 3
    passes("gradient-blocked", record)


def test_a_frozen_encoder_is_not_blocked():
    not_measured("gradient-blocked", frozen(healthy(), 12))


# eval-mode


def test_training_in_eval_mode_is_told_and_worse_with_batch_norm():
    record = every_batch(healthy(), encoder_training=False, head_training=False)
    assert found("eval-mode", record, "warning").evidence["share"] == 1.0
    record.modules.append(Module("norm", "BatchNorm1d", "head", training=False))
    found("eval-mode", record, "error")
    record.modules = [Module("classifier", "Linear", "head")]
    found("eval-mode", record, "note")


def test_eval_mode_left_on_after_the_first_validation_is_told():
    record = healthy()
    record.batches[-1].encoder_training = record.batches[-1].head_training = False
    finding = found("eval-mode", record, "warning")
    assert "validation" in finding.title and finding.evidence["first_after_optimizer_steps"] == 19


def test_a_frozen_encoder_in_eval_mode_is_healthy():
    passes("eval-mode", every_batch(frozen(healthy(), 12), encoder_training=False))


# double-softmax


@pytest.mark.parametrize("operation, function", [("softmax", "cross_entropy"), ("sigmoid", "cross_entropy"),
                                                 ("sigmoid", "binary_cross_entropy_with_logits")])
def test_softmax_or_sigmoid_before_a_loss_that_applies_it_is_told(operation, function):
    record = every_batch(healthy(), last_operation=operation, loss_function=function)
    assert found("double-softmax", record, "error").evidence["last_operation"] == operation


def test_the_floor_of_the_loss_is_told():
    record = every_batch(healthy(), last_operation="softmax")
    assert found("double-softmax", record, "error").evidence["loss_cannot_fall_below"] == 0.744


def test_probabilities_are_recognised_by_their_values():
    record = every_batch(healthy(), last_operation="where", logits=[[0.1, 0.2, 0.3, 0.4]] * 16)
    found("double-softmax", record, "error")


def test_log_softmax_twice_is_a_note_and_pairs_that_belong_together_are_healthy():
    found("double-softmax", every_batch(healthy(), last_operation="log_softmax"), "note")
    passes("double-softmax", every_batch(healthy(), last_operation="log_softmax", loss_function="nll_loss"))
    passes("double-softmax", every_batch(healthy(), last_operation="sigmoid", loss_function="binary_cross_entropy"))


# head-mismatch


def test_fewer_outputs_than_classes_are_told_and_the_labels_are_not_blamed():
    record = crashed(every_batch(healthy(), outputs=3), "IndexError", "Target 3 is out of bounds.")
    evidence = found("head-mismatch", record, "error").evidence
    assert (evidence["outputs"], evidence["classes"]) == (3, 4)
    passes("label-out-of-range", record)


def test_more_outputs_than_classes_are_a_warning():
    assert found("head-mismatch", every_batch(healthy(), outputs=10), "warning").evidence["classes"] == 4


def test_a_class_that_only_the_validation_rows_have_needs_its_output():
    record = every_batch(relabelled(healthy(), {3: 2}), outputs=4)
    passes("head-mismatch", record)


def test_a_few_labels_cannot_call_a_class_missing():
    record = every_batch(healthy(), outputs=10)
    record.training = split_of([], record.training.labels[:40], complete=False)
    not_measured("head-mismatch", record)


def test_one_binary_output_for_four_classes_is_a_mismatch():
    record = every_batch(healthy(), outputs=1, loss_function="binary_cross_entropy_with_logits")
    found("head-mismatch", record, "error")


@pytest.mark.parametrize("kind, message", [
    ("ValueError", "Expected input batch_size (32) to match target batch_size (16)."),
    ("ValueError", "Target size (torch.Size([16])) must be the same as input size (torch.Size([16, 4]))"),
    ("RuntimeError", "shape '[-1, 3]' is invalid for input of size 64")])
def test_shape_errors_that_come_of_the_heads_width_are_named(kind, message):
    assert found("head-mismatch", crashed(healthy(), kind, message), "error").evidence["crash"].startswith(kind)


def test_a_forgotten_squeeze_and_logits_of_every_token_are_other_faults():
    record = crashed(every_batch(healthy(), outputs=1, loss_function="binary_cross_entropy_with_logits"), "ValueError",
                     "Target size (torch.Size([16])) must be the same as input size (torch.Size([16, 1]))")
    record = relabelled(relabelled(record, {2: 0}), {3: 1})
    record.validation = None
    passes("head-mismatch", record)
    passes("head-mismatch", crashed(healthy(), "ValueError",
                                    "Expected input batch_size (320) to match target batch_size (16)."))


# dead-head


def test_logits_that_are_the_same_for_every_row_are_dead():
    record = every_batch(healthy(), logits=[[0.3, -0.2, 0.1, 0.0]] * 16)
    assert found("dead-head", record, "error").evidence["largest_spread_between_rows"] == 0.0


def test_a_relu_whose_units_are_all_nought_is_dead():
    record = healthy()
    record.modules.append(Module("head.relu", "ReLU", "head", training=True, zero_share=1.0))
    assert found("dead-head", record, "error").evidence["dead_layer"] == "head.relu"
    record.modules[-1].zero_share = 0.45
    passes("dead-head", record)


def test_an_activation_after_the_last_layer_is_told_and_an_output_cut_off_for_all_rows_is_an_error():
    record = every_batch(healthy(), last_operation="relu")
    found("dead-head", record, "warning")
    for batch in record.batches:
        batch.logits = [[max(0.0, row[0]), 0.0, max(0.0, row[2]), 0.0] for row in batch.logits]
    assert found("dead-head", record, "error").evidence["outputs_0_for_every_row"] == [1, 3]
    evidence = found("dead-head", every_batch(healthy(), last_operation="tanh"), "warning").evidence
    assert evidence["loss_cannot_fall_below"] == 0.341


def test_a_fresh_head_that_differs_little_and_one_that_begins_at_nought_are_healthy():
    record = healthy()
    for batch in record.batches:
        batch.logits = [[0.3 + 0.01 * value for value in row] for row in batch.logits]
    passes("dead-head", record)
    record = healthy()
    record.batches[0].logits = [[0.0] * 4] * 16
    passes("dead-head", record)


def test_equal_logits_of_equal_texts_are_no_fault_of_the_head():
    record = every_batch(healthy(), logits=[[0.3, -0.2, 0.1, 0.0]] * 16, distinct_rows=1)
    passes("dead-head", record)


# dropout-extreme


def test_dropout_of_nine_tenths_is_an_error_and_a_half_before_the_last_layer_is_usual():
    record = healthy()
    record.modules[1].value = 0.9
    assert found("dropout-extreme", record, "error").evidence["share_kept"] == 0.1
    record.modules[1].value = 0.7
    found("dropout-extreme", record, "warning")
    record.modules[1].value = 0.5
    passes("dropout-extreme", record)


def test_within_the_encoder_less_dropout_is_too_much():
    record = healthy()
    record.modules[0].value = 0.7
    found("dropout-extreme", record, "error")
    record.modules[0].value = 0.3
    passes("dropout-extreme", record)


def test_dropout_that_is_off_does_no_harm():
    record = healthy()
    record.modules[1].value, record.modules[1].training = 0.9, False
    passes("dropout-extreme", record)


# batchnorm-small-batch


def normed(rows):
    record = healthy()
    record.modules.append(Module("norm", "BatchNorm1d", "head", training=True, rows=min(rows)))
    record.batches = [training_batch(step, [0, 1, 2, 3] * 8) for step in range(len(rows))]
    for batch, count in zip(record.batches, rows):
        batch.rows = count
    return record


def test_batch_norm_on_a_few_rows_is_told():
    assert found("batchnorm-small-batch", normed([2] * 10), "error").evidence["usual_rows"] == 2
    found("batchnorm-small-batch", normed([4] * 10), "warning")


def test_a_short_last_batch_and_batches_of_sixteen_are_healthy():
    passes("batchnorm-small-batch", normed([16] * 10 + [3]))


def test_a_last_batch_of_one_row_is_foreseen_and_recognised():
    record = normed([16] * 10)
    record.training.rows, record.training.batches = 161, 11
    assert found("batchnorm-small-batch", record, "error").evidence["rows_left_over"] == 1
    record.training.batches = 10        # drop_last
    passes("batchnorm-small-batch", record)
    message = "Expected more than 1 value per channel when training, got input size torch.Size([1, 512])"
    found("batchnorm-small-batch", crashed(normed([16] * 10), "ValueError", message), "error")


def test_without_batch_norm_small_batches_are_healthy():
    record = healthy()
    for batch in record.batches:
        batch.rows = 2
    passes("batchnorm-small-batch", record)


# ---- crashes


def test_a_crash_is_explained_by_a_finding_only_where_that_is_what_broke():
    record = every_batch(healthy(), mask_given=False, padding_shown=60)
    record.ended, record.steps, record.optimizer_steps, record.backwards = "crashed", [], 0, 1
    crashed(record, "IndexError", "index 5 is out of bounds for axis 0 with size 5")       # numpy's, of the script
    judgement = judge(record)
    assert "mask-missing" in [finding.name for finding in judgement.findings]
    assert "IndexError" in not_examined(record, judgement.findings, 300)
    crashed(relabelled(record, {0: 4}), "IndexError", "Target 4 is out of bounds.")
    judgement = judge(record)
    assert judgement.findings[0].name == "label-out-of-range" and not_examined(record, judgement.findings, 300) is None
    assert judgement.verdict.startswith("crashes before it learns anything: training labels 4")


def test_every_sign_of_a_standstill_has_a_help_that_stands_alone():
    for words, fix in majority_class.FIXES.items():
        assert "before this" not in fix, words
