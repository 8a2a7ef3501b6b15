"""The faults of drawing, pooling, losses and remaking: each on records written by hand, with its near misses."""

import math

import pytest
from healthy_records import check, found, healthy, not_measured, passes
from planned_records import finding, run

from diagnosis.record.record import Control, Crash, FreezeAct, Module, Plan, Remaking, Site, Target, Tokenizer
from diagnosis.verdict.judge import judge

LOOP, MADE = Site("train.py", 30, "for epoch in range(EPOCHS):"), Site("train.py", 31, "model = build()")


# rows-repeated


def drawn(record, rows_of_step):
    """The run with the numbers of the rows drawn given by a function of the step."""
    for batch in record.batches:
        batch.drawn = rows_of_step(batch.step)
    return record


def test_a_sampler_that_only_ever_draws_four_rows_is_named_with_what_it_wants():
    record = drawn(healthy(), lambda step: [0, 1, 2, 3] * 4)
    record.training.sampler = "WeightedRandomSampler"
    said = found("rows-repeated", record, "error")
    assert said.evidence["different_rows_drawn"] == 4 and "one weight per row" in said.fix
    record = drawn(healthy(), lambda step: [(step + row) % 4 for row in range(16)])
    assert found("rows-repeated", record, "error").title.startswith("every step trains on the same 4 rows")


def test_the_same_batch_at_every_step_is_named_where_the_loop_takes_it():
    record = drawn(healthy(), lambda step: list(range(16)))
    record.training.iterated = Site("train.py", 50, "batch = next(iter(loader))")
    said = found("rows-repeated", record, "error")
    assert "same 16 rows" in said.title and said.where.line == 50


def test_rows_drawn_again_by_a_balanced_sampler_or_as_two_views_of_a_step_are_healthy():
    record = healthy()
    few = [place for place, label in enumerate(record.training.labels) if label == 0][:160]
    passes("rows-repeated", drawn(record, lambda step: few[8 * step:8 * step + 8] * 2))     # two views of eight rows
    passes("rows-repeated", drawn(healthy(), lambda step: list(range(16 * (step // 2), 16 * (step // 2) + 16))))


def test_a_data_set_of_sixteen_rows_is_small_and_not_repeated():
    record = drawn(healthy(), lambda step: list(range(16)))
    record.training.examples, record.training.labels = record.training.examples[:16], record.training.labels[:16]
    record.training.rows = 16
    passes("rows-repeated", record)


def test_without_a_data_set_the_texts_that_were_tokenized_tell_how_many_rows_there_are():
    record = drawn(healthy(), lambda step: list(range(16)))
    record.training.rows, record.training.examples = None, []
    not_measured("rows-repeated", record)
    record.tokenizer = Tokenizer(different_texts=600)
    assert found("rows-repeated", record, "error").evidence["different_rows_there_are"] == 300


# rows-mixed


def test_a_row_that_changes_in_other_company_is_an_error():
    record = healthy()
    record.controls = [Control("rows-apart", "?", False, {"largest_change": 0.4, "rows": 8})]
    assert found("rows-mixed", record, "error").evidence["largest_change_of_a_logit"] == 0.4
    record.controls = [Control("rows-apart", "?", None, {}, "the outputs are random in evaluation mode")]
    not_measured("rows-mixed", record)


# pooled-padding


def test_a_head_that_reads_padding_in_most_padded_rows_is_an_error_unless_the_loss_falls():
    record = healthy()
    for batch in record.batches:
        batch.read_at_padding, batch.loss = 10, 1.38
    assert found("pooled-padding", record, "error").evidence["share"] == 1
    record = healthy()
    for batch in record.batches:
        batch.read_at_padding, batch.loss = 3, 1.38 - 0.05 * batch.step
    found("pooled-padding", record, "warning")


def test_a_mean_over_all_positions_or_batches_without_padding_are_no_reading_of_padding():
    record = healthy()
    for batch in record.batches:
        batch.padded_rows, batch.read_at_padding = 0, 0
    passes("pooled-padding", record)
    for batch in record.batches:
        batch.padded_rows, batch.padding = None, 0
    passes("pooled-padding", record)
    for batch in record.batches:
        batch.padding = 30
    not_measured("pooled-padding", record)


# head-frozen


def frozen_head(**facts):
    record = healthy()
    record.parameters[-1].trainable, record.parameters[-1].loaded = False, False
    for batch in record.batches:
        batch.loss = 1.38
    for name, value in facts.items():
        setattr(record, name, value)
    return record


def test_a_new_head_that_nothing_trains_is_an_error_where_it_is_frozen():
    record = frozen_head(freezes=[FreezeAct(Site("train.py", 20), "parameter", 30, 30, 30)])
    said = found("head-frozen", record, "error")
    assert said.where.line == 20 and said.evidence["in_no_checkpoint"] == ["classifier.weight"]


def test_adapters_without_a_task_type_are_told_of_it_at_their_configuration():
    record = frozen_head(adapter_site=Site("train.py", 12, "config = LoraConfig("))
    for parameter in record.parameters:
        parameter.trainable = "layer" in parameter.part
        parameter.name = parameter.name.replace(".weight", ".lora_A.default.weight") if parameter.trainable \
            else "base_model.model." + parameter.name
    said = found("head-frozen", record, "error")
    assert said.where.line == 12 and "SEQ_CLS" in said.fix and '"classifier"' in said.fix


def test_a_head_that_came_with_its_checkpoint_may_be_frozen_and_of_an_unknown_one_nothing_is_said():
    record = frozen_head()
    record.parameters[-1].loaded = True
    passes("head-frozen", record)
    record.parameters[-1].loaded = None
    not_measured("head-frozen", record)


def test_a_copy_of_the_head_that_is_trained_is_enough():
    record = frozen_head()
    record.parameters.append(record.parameters[-1].__class__("classifier.modules_to_save.weight", "head", [4, 128],
                                                             "float32", True, 0))
    passes("head-frozen", record)


def test_a_model_frozen_whole_is_a_head_frozen_and_the_crash_its_consequence():
    record = frozen_head(crash=Crash("RuntimeError", "element 0 of tensors does not require grad", "", None), steps=[])
    for parameter in record.parameters:
        parameter.trainable = False
    assert found("head-frozen", record, "error").title.endswith("so is everything else")
    (first, consequences), *_ = judge(record).causes
    assert first.name == "head-frozen" and "loss-detached" in [each.name for each in consequences]


# loss-mismatched


def under(loss_function, target, record=None, **facts):
    record = record or run()
    for batch in record.batches:
        batch.loss_function, batch.target = loss_function, target
        for name, value in facts.items():
            setattr(batch, name, value)
    return record


def log_softmax(row):
    total = math.log(sum(map(math.exp, row)))
    return [value - total for value in row]


CLASSES = Target("int64", 1, 0, 3, True)
NUMBERS = Target("float32", 1, 0, 3, True)


def test_nll_loss_wants_log_probabilities():
    record = under("nll_loss", CLASSES)
    assert "raw logits" in finding("loss-mismatched", record).title
    for batch in record.batches:
        batch.logits = [log_softmax(row) for row in batch.logits]
    passes("loss-mismatched", record)


def test_squared_error_on_class_numbers_is_an_error_where_the_script_scores_classes():
    record = under("mse_loss", NUMBERS, outputs=1)
    finding("loss-mismatched", record, "warning")
    record.called = ["argmax", "backward"]
    assert finding("loss-mismatched", record).evidence["script_calls"] == ["argmax"]


def test_a_regression_that_is_meant_is_healthy():
    passes("loss-mismatched", under("mse_loss", NUMBERS, run(called=["mean_absolute_error"]), outputs=1))
    passes("loss-mismatched", under("mse_loss", Target("float32", 1, 0.2, 3.7, False), outputs=1))
    passes("loss-mismatched", under("mse_loss", Target("float32", 4, 0, 1, True)))      # one-hot rows
    assert "4 outputs" in finding("loss-mismatched", under("mse_loss", NUMBERS)).title


def test_a_binary_loss_knows_0_and_1():
    assert "up to 3" in finding("loss-mismatched", under("binary_cross_entropy_with_logits", NUMBERS, outputs=1)).title
    passes("loss-mismatched", under("binary_cross_entropy_with_logits", Target("float32", 4, 0, 1, True)))
    record = under("binary_cross_entropy_with_logits", Target("float32", 4, 0, 1, True), last_operation="log_softmax")
    assert "log-probabilities" in finding("loss-mismatched", record).title


def refused(message, loss_function, target, **facts):
    crash = Crash("RuntimeError", message, "", None)
    record = under(loss_function, target, run(optimizer_steps=0, steps=[], crash=crash), **facts)
    record.batches = record.batches[:1]
    return record


def test_what_torch_refuses_for_its_kind_is_explained():
    sizes = "Target size (torch.Size([16])) must be the same as input size (torch.Size([16, 4]))"
    assert "integers" in finding("loss-mismatched", refused(sizes, "binary_cross_entropy_with_logits", NUMBERS)).fix
    record = refused(sizes, "binary_cross_entropy_with_logits", Target("float32", 1, 0, 7, True))
    passes("loss-mismatched", record)       # head-mismatch: eight classes, four outputs
    between = "all elements of input should be between 0 and 1"
    record = refused(between, "binary_cross_entropy", Target("float32", 4, 0, 1, True),
                     logits=[[-1.0, 2.0, 0.1, 3.0]] * 16)
    assert finding("loss-mismatched", record).evidence["outside_0_to_1"] == 48
    finding("loss-mismatched", refused("expected scalar type Long but found Float", "cross_entropy", NUMBERS))


# optimizer-remade, model-remade


def test_an_optimizer_made_at_every_step_is_an_error_unless_the_loss_falls_and_one_at_every_epoch_a_warning():
    record = run(losses=lambda step: 1.38, remakings=[Remaking("optimizer", "made", MADE, list(range(1, 22)))])
    assert "at every step" in finding("optimizer-remade", record).title
    record = run(remakings=[Remaking("optimizer", "made", MADE, [20])])
    assert finding("optimizer-remade", record, "warning").where.line == 31


def test_plain_gradient_descent_has_nothing_to_forget():
    record = run(remakings=[Remaking("optimizer", "made", MADE, [20])])
    record.groups[0].optimizer, record.groups[0].epsilon = "SGD", None
    passes("optimizer-remade", record)
    record.groups[0].momentum = 0.9
    finding("optimizer-remade", record, "warning")


def remade(code, within, how="made"):
    return run(remakings=[Remaking("model", how, MADE, [20], Site("train.py", 30, code), within)])


@pytest.mark.parametrize("code, within", [
    ("for epoch in range(epochs):", 1), ("for i in range(NUM_EPOCHS):", 1), ("for batch in loader:", 0)])
def test_a_model_made_in_the_loop_over_epochs_or_batches_is_an_error(code, within):
    assert finding("model-remade", remade(code, within)).where.line == 31


@pytest.mark.parametrize("code, within", [
    ("for fold, (train, valid) in enumerate(folds):", 2), ("for seed in range(5):", 1), ("for lr in rates:", 1),
    ("for epochs in (1, 2, 3):", 2)])
def test_a_model_for_every_fold_seed_or_setting_is_healthy(code, within):
    passes("model-remade", remade(code, within))


def test_around_a_librarys_own_loops_a_fold_is_no_step():
    folds, epochs = (remade(f"for {counts}:", 0) for counts in ("fold, rows in folds", "epoch in range(3)"))
    folds.library = epochs.library = "transformers"
    passes("model-remade", folds)
    assert "in every epoch" in finding("model-remade", epochs).title


def test_what_a_new_model_is_for_is_not_guessed_and_without_a_second_epoch_nothing_passed():
    record = run(remakings=[Remaking("model", "made", MADE, [20])])
    assert "not known" in check("model-remade", record).reason
    assert "second epoch" in check("model-remade", run(more=0)).reason


# too-few-steps


def short(steps, rate=5e-5, norm=None, losses=lambda step: 1.38):
    record = run(seen=min(steps, 20), more=0, rate=rate, losses=losses)
    record.plan = Plan(1, steps, 1.0, steps)
    record.modules += [Module("head.norm", "BatchNorm1d", "head", None, True, momentum=norm)] if norm else []
    return record


def test_ten_steps_are_too_few_for_a_fresh_batchnorm_and_thirty_are_enough():
    said = finding("too-few-steps", short(10, norm=0.1))
    assert said.evidence["first_statistics_kept"] == 0.349 and said.evidence["steps_needed_about"] == 29
    finding("too-few-steps", short(20, norm=0.1), "warning")
    passes("too-few-steps", short(30, norm=0.1))


def test_a_batchnorm_that_came_with_its_statistics_needs_no_steps():
    record = short(12, rate=1e-4, norm=0.1)
    record.parameters.append(record.parameters[-1].__class__("head.norm.weight", "head", [768], "float32", True, 0,
                                                             loaded=True))
    passes("too-few-steps", record)


def test_four_steps_at_a_usual_rate_lead_nowhere_and_nine_not_far():
    assert finding("too-few-steps", short(3)).evidence["sum_of_rates"] == pytest.approx(1.5e-4)
    assert finding("too-few-steps", short(8), "warning").evidence["steps_needed_about"] == 10
    passes("too-few-steps", short(12))


def test_a_rate_that_is_itself_too_low_is_not_blamed_on_the_steps():
    passes("too-few-steps", short(20, rate=1e-6))


def test_a_run_that_learns_all_the_same_gets_a_warning_at_most():
    finding("too-few-steps", short(10, norm=0.1, losses=lambda step: 1.38 * 0.8 ** step), "warning")
