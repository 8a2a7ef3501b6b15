"""What the other checks on optimization promise, on records written by hand, and what all of them do."""

import math

import pytest
from planned_records import (MADE, NAMES, PER_EPOCH, UPDATES, check, clipped, falling, finding, head_only, parameter,
                             passes, run, transformers_linear)

from diagnosis.faults import catalogue, loss_sign
from diagnosis.record.record import (Batch, Crash, Group, Parameter, Plan, Record, Schedule, Site, Step, from_json,
                                     to_json)
from diagnosis.verdict.finding import NotMeasured


# ---- all of them


@pytest.mark.parametrize("name", NAMES)
def test_a_healthy_run_passes_every_check(name):
    if name == "eval-train-mode":
        assert isinstance(check(name, run()), NotMeasured)      # no validation in it
    else:
        passes(name, run())


@pytest.mark.parametrize("name", NAMES)
def test_a_healthy_run_with_a_warm_up_passes_every_check_on_the_schedule(name):
    if name != "eval-train-mode":
        passes(name, transformers_linear(10, UPDATES))


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_record_is_never_counted_as_passed(name):
    assert isinstance(check(name, Record()), NotMeasured)


@pytest.mark.parametrize("name", NAMES)
def test_a_record_that_went_through_json_is_judged_alike(name):
    record = transformers_linear(300, 1500, per_epoch=True)
    record.steps[3].loss = math.nan
    again = from_json(to_json(record))
    assert str(check(name, record)) == str(check(name, again))


@pytest.mark.parametrize("name", NAMES)
def test_a_record_of_bare_steps_raises_nothing(name):
    check(name, Record(steps=[Step(index) for index in range(10)], backwards=10, optimizer_steps=10))
    check(name, Record(steps=[Step(index, rates=[math.nan]) for index in range(10)], groups=[Group("SGD", 0.1, 0.1)],
                       parameters=[Parameter("w", "head", [2], "float32", True, 0)],
                       schedules=[Schedule("LambdaLR", "x")]))


def test_no_fault_is_its_own_cause_by_way_of_others():
    faults = catalogue()
    for name in NAMES:
        causes, before = set(faults[name].CAUSED_BY), set()
        assert causes <= set(faults), f"{name}: {causes - set(faults)} is no fault"
        while causes != before:
            before, causes = causes, causes.union(*(faults[name].CAUSED_BY for name in causes))
        assert name not in causes, name


# ---- optimizer-missing-params


def test_a_forgotten_head_is_an_error_and_a_forgotten_encoder_a_warning():
    record = run()
    record.parameters[2].group = None
    found = finding("optimizer-missing-params", record)
    assert found.evidence["parts"] == ["head"] and found.where == MADE
    record = run()
    record.parameters[0].group = record.parameters[1].group = None
    assert "requires_grad = False" in finding("optimizer-missing-params", record, "warning").fix
    for step in record.steps:
        step.loss = 1.386 + 0.01 * (-1) ** step.index
    for batch in record.batches:
        batch.loss = record.steps[batch.step].loss
    finding("optimizer-missing-params", record, "error")    # the head alone does not learn: this is why


def test_an_optimizer_with_another_models_weights_is_told_as_such():
    record = run()
    record.groups[0].foreign_elements = record.groups[0].elements
    for parameter in record.parameters:
        parameter.group = None
    assert "another model" in finding("optimizer-missing-params", record).title
    for step in record.steps:
        step.cleared = True         # the optimizer sees no gradient, but nothing was cleared
    passes("gradients-cleared", record)


def test_frozen_layers_and_an_unused_pooler_need_no_optimizer():
    record = head_only(1e-3, falling)
    passes("optimizer-missing-params", record)
    record = run()
    record.parameters[1].group = None
    passes("optimizer-missing-params", record)


def test_the_look_before_training_knows_no_gradients_and_still_finds_what_is_missing():
    record = run(seen=1, more=0, ended="looked", steps=[], batches=[])
    for parameter in record.parameters:
        parameter.gradient_norms = []
    record.parameters[1].group = None
    passes("optimizer-missing-params", record)
    record.parameters[2].group = None
    finding("optimizer-missing-params", record)


# ---- no-optimizer-step


def without_steps(backwards, **changes):
    return run(steps=[], optimizer_steps=0, backwards=backwards, zero_grads=0, **changes)


def test_many_backward_calls_without_a_step_are_found():
    found = finding("no-optimizer-step", without_steps(60))
    assert found.evidence["backward_calls"] == 60 and found.where == Site("train.py", 47)


def test_an_accumulation_longer_than_the_epoch_is_found_and_a_short_one_waits():
    finding("no-optimizer-step", without_steps(PER_EPOCH, ended="time limit"))
    assert isinstance(check("no-optimizer-step", without_steps(8, ended="time limit")), NotMeasured)


def test_one_of_two_optimizers_that_never_steps_is_found():
    record = run()
    record.groups.append(Group("AdamW", 1e-3, 1e-3, elements=4000, epsilon=1e-8, made=Site("train.py", 31)))
    record.parameters[2].group, record.parameters[2].change = 1, 0.0
    for step in record.steps:
        step.rates = [2e-5, 1e-3]
    assert finding("no-optimizer-step", record).where == Site("train.py", 31)
    record.parameters[2].change = 0.01
    passes("no-optimizer-step", record)


# ---- gradients-cleared, gradients-accumulate


def test_gradients_zeroed_between_backward_and_step_are_found():
    record = run()
    for step in record.steps:
        step.cleared, step.gradient_norm = True, None
    assert finding("gradients-cleared", record).where == Site("train.py", 51)
    for step in record.steps[2:]:
        step.cleared = False
    passes("gradients-cleared", record)


def test_zeroing_in_every_micro_batch_is_a_warning_and_accumulation_is_healthy():
    record = run(backwards=88, zero_grads=88)
    for step in record.steps:
        step.backwards = 4
    finding("gradients-cleared", record, "warning")
    record.zero_grads = 44          # model and optimizer both, once per step
    passes("gradients-cleared", record)
    passes("gradients-accumulate", record)


def test_old_gradients_that_pile_up_are_found():
    record = run(zero_grads=0)
    for step in record.steps[1:]:
        step.zeroed, step.gradient_before = False, 3.0 * step.index
    found = finding("gradients-accumulate", record)
    assert found.evidence["steps_with_old_gradients"] == 21


def test_gradients_that_pile_up_outside_the_optimizer_are_its_missing_parameters():
    record = run()
    record.parameters[0].group = None
    for step in record.steps[1:]:
        step.zeroed, step.gradient_before = False, 3.0 * step.index
    passes("gradients-accumulate", record)
    finding("optimizer-missing-params", record, "warning")


# ---- clip-too-tight


def test_clipping_to_adams_eps_is_found():
    found = finding("clip-too-tight", clipped(run(), 1e-7, 5.0))
    assert found.where == Site("train.py", 48) and found.evidence["share_of_step_kept"] < 0.1
    finding("clip-too-tight", clipped(run(), 5e-6, 5.0), "warning")


@pytest.mark.parametrize("limit, before", [(1.0, 20.0), (0.1, 20.0), (0.01, 5.0), (1.0, 0.2), (1.0, 1e-7)])
def test_usual_clipping_is_healthy_with_adam(limit, before):
    passes("clip-too-tight", clipped(run(), limit, before))


def test_what_the_scripts_own_code_leaves_of_the_gradient_counts_like_clipping():
    def shortened(left, every=1):
        record = run()
        for step in record.steps:
            step.norm_of_backward = 5.0 if step.index % 8 == 0 else None        # as it is measured
            step.gradient_norm = left if step.index % (8 * every) == 0 else 5.0
        return record
    found = finding("clip-too-tight", shortened(1e-7))
    assert found.evidence["norm_before"] == 5.0 and found.evidence["norm_after"] == 1e-7
    assert "between backward() and this step" in found.title
    passes("clip-too-tight", shortened(0.1))
    passes("clip-too-tight", shortened(1e-7, every=2))


def test_gradient_descent_feels_clipping_in_proportion():
    def sgd(limit, before):
        record = run(rate=0.01, losses=lambda step: 1.39)
        record.groups = [Group("SGD", 0.01, 0.01, momentum=0.9, elements=1_014_000, made=MADE)]
        return clipped(record, limit, before)
    finding("clip-too-tight", sgd(1e-4, 5.0))
    passes("clip-too-tight", sgd(1.0, 5.0))


# ---- weight-decay-extreme


def test_a_decay_that_eats_the_weights_is_found():
    record = run()
    record.groups[0].weight_decay = 1000.0
    found = finding("weight-decay-extreme", record)
    assert found.evidence["share_lost_in_run"] == pytest.approx(1 - math.exp(-2), rel=0.01)
    record.groups[0].weight_decay = 100.0
    finding("weight-decay-extreme", record, "warning")
    record.groups[0].weight_decay = 0.1
    passes("weight-decay-extreme", record)


def test_an_l2_term_in_adam_is_held_against_the_gradient():
    record = run()
    record.groups[0].optimizer, record.groups[0].weight_decay = "Adam", 10.0
    finding("weight-decay-extreme", record)
    record.groups[0].weight_decay = 0.01
    passes("weight-decay-extreme", record)
    record.groups[0].optimizer = "AdamW"
    record.plan = Plan()
    record.groups[0].weight_decay = 10.0
    assert isinstance(check("weight-decay-extreme", record), NotMeasured)


# ---- loss-detached, loss-sign


def test_a_loss_without_a_path_to_the_model_is_found():
    record = run()
    for batch in record.batches:
        batch.loss_has_graph = False
    assert finding("loss-detached", record).where == Site("train.py", 47)


def test_the_crash_of_a_loss_without_a_graph_is_explained():
    message = "element 0 of tensors does not require grad and does not have a grad_fn"
    crash = Crash("RuntimeError", message, "", Site("t.py", 7))
    record = Record(crash=crash, batches=[Batch("training", 0, 8, gradient_enabled=False)])
    found = finding("loss-detached", record)
    assert found.where == Site("t.py", 7) and "no_grad" in found.fix


def test_cleared_gradients_are_no_detached_loss():
    record = run()
    for batch in record.batches:
        batch.loss_has_graph = None
    for step in record.steps:
        step.cleared = True
    for parameter in record.parameters:
        parameter.gradient_norms = [None] * 22
    passes("loss-detached", record)


def test_a_maximized_loss_is_found_and_twice_negated_is_right():
    record = run()
    for batch in record.batches:
        batch.loss_sign = -1
    finding("loss-sign", record)
    record.groups[0].maximize = True
    passes("loss-sign", record)
    record = run()
    record.groups[0].maximize = True
    for step in record.steps:
        step.along_gradient = 0.8
    assert finding("loss-sign", record).where == MADE
    assert "minimize" in loss_sign.mend(record).changes


def test_an_optimizer_of_the_scripts_own_that_climbs_is_found_and_on_a_negated_loss_it_is_right():
    record = run()
    record.groups[0].own_code, record.groups[0].optimizer = True, "SignMomentum"
    for step in record.steps:
        step.along_gradient = 0.8
    found = finding("loss-sign", record)
    assert found.where == MADE and "SignMomentum" in found.title and found.evidence["cosine_of_step_and_gradient"] == 0.8
    for batch in record.batches:
        batch.loss_sign = -1
    passes("loss-sign", record)
    record = run()
    record.groups[0].own_code = True
    for step in record.steps:       # it goes down first, and then where its momentum leads
        step.along_gradient = -0.8 if step.index < 3 else 0.3
    passes("loss-sign", record)


def test_a_script_that_climbs_by_hand_is_found_and_on_a_likelihood_it_is_right():
    record = run(groups=[])
    for step in record.steps:
        step.by_hand, step.along_gradient = True, 0.4
    found = finding("loss-sign", record)
    assert found.where == record.backward_site and "uphill" in found.title
    for batch in record.batches:
        batch.loss_sign = -1
    passes("loss-sign", record)


def test_a_hand_written_likelihood_without_its_minus_is_found_and_nll_on_probabilities_is_not_that():
    record = run()
    for step, batch in enumerate(record.batches):
        logits = [[0.1 * step * (row % 3), 0.0, 0.2 * (row % 2), 0.0] for row in range(16)]
        entropy = sum(math.log(sum(map(math.exp, row))) - row[label] for row, label in zip(logits, batch.labels)) / 16
        batch.logits, batch.loss_function, batch.loss_sign, batch.loss = logits, None, None, -entropy
    finding("loss-sign", record)
    for step, batch in enumerate(record.batches):
        batch.loss = -0.25 - 0.03 * step
    passes("loss-sign", record)


def test_a_hand_written_loss_that_falls_while_the_cross_entropy_climbs_is_maximised():
    record = run(losses=lambda step: -0.3 - 0.2 * step)
    for batch in record.batches:
        batch.loss_function = batch.loss_sign = None
        batch.logits = [[0.1 - 0.4 * batch.step * (label == column) for column in range(4)] for label in batch.labels]
    finding("loss-sign", record)
    for batch in record.batches:        # the same fall, with the true class ever surer: a loss with a negative part
        batch.logits = [[0.1 + 0.4 * batch.step * (label == column) for column in range(4)] for label in batch.labels]
    passes("loss-sign", record)


# ---- optimizers with a schedule of their own


def under_bert_adam(lengths, own_schedule=None, **changes):
    """A healthy record but for an optimizer of the script's own, whose steps changed the weights by these lengths."""
    record = run(seen=len(lengths), more=0, **changes)
    record.groups = [Group("BertAdam", 2e-5, 2e-5, weight_decay=0.01, parameters=3, elements=1_014_000, epsilon=1e-6,
                           made=MADE, own_code=True, own_schedule=own_schedule or {})]
    for step, length in zip(record.steps, lengths):
        step.update_norm, step.unchanged_share = length, float(length == 0)
    return record


def test_where_a_rate_is_shown_and_the_weights_stand_still_the_change_is_believed():
    record = under_bert_adam([0.0, 0.06, 0.05, 0.02] + [0.0] * 36, {"t_total": 4, "warmup": 0.1})
    found = finding("schedule-exhausted", record)
    assert found.evidence["t_total"] == 4 and found.evidence["steps_without_change"] == 36
    assert "BertAdam" in found.title and f"{UPDATES:,} (t_total)" in found.fix and found.where == MADE
    passes("lr-zero", record)


def test_an_optimizer_whose_own_schedule_never_moves_a_weight_is_at_a_rate_of_zero():
    found = finding("lr-zero", under_bert_adam([0.0] * 20, {"t_total": 0, "warmup": 0.1}))
    assert found.evidence["weights_unchanged"] == 1.0 and found.evidence["t_total"] == 0


def test_a_warm_up_inside_the_optimizer_is_told_by_its_numbers_and_its_growing_steps():
    rising = [0.001 * step for step in range(30)]
    found = finding("warmup-too-long", under_bert_adam(rising, {"t_total": 100 * UPDATES, "warmup": 0.1}))
    assert found.evidence["share_of_the_run"] == 10
    passes("warmup-too-long", under_bert_adam([0.05] * 30, {"t_total": UPDATES, "warmup": 0.1}))


def test_what_an_optimizer_of_the_scripts_own_does_out_of_sight_is_not_checked():
    unseen = under_bert_adam([None] * 30)
    for name in ("lr-zero", "schedule-exhausted", "warmup-too-long"):
        assert isinstance(check(name, unseen), NotMeasured), name
    passes("schedule-exhausted", under_bert_adam([0.05] * 30))


def test_a_hand_written_decay_is_not_taken_for_one_in_the_gradient():
    record = under_bert_adam([0.05] * 30)
    record.parameters[0].gradient_norms = [1e-3] * 30
    record.parameters[2].gradient_norms = [1e-3] * 30
    assert isinstance(check("weight-decay-extreme", record), NotMeasured)
    record.groups[0].own_code, record.groups[0].optimizer = False, "Adam"
    finding("weight-decay-extreme", record)
    record.groups[0].decoupled = True           # torch's Adam with decoupled_weight_decay=True
    passes("weight-decay-extreme", record)


# ---- an encoder that does not move, and libraries


def test_a_high_rate_is_not_blamed_where_no_encoder_weight_moves():
    record = run(rate=5e-4, losses=lambda step: 1.6 + 0.01 * (-1) ** step)
    finding("lr-too-high", record)
    blocked = run(rate=5e-4, losses=lambda step: 1.6 + 0.01 * (-1) ** step)
    for parameter_of_encoder in blocked.parameters[:2]:
        parameter_of_encoder.gradient_norms = [None] * 22
    passes("lr-too-high", blocked)
    adapters = run(rate=5e-4, losses=lambda step: 1.6 + 0.01 * (-1) ** step)
    adapters.parameters[0].trainable = False
    adapters.parameters.insert(1, parameter("bert.layer.lora_A", "layer 0", [8, 1000], gradient=1.0))
    passes("lr-too-high", adapters)


def test_a_schedule_that_lightning_steps_per_epoch_needs_its_interval():
    record = transformers_linear(40, UPDATES, per_epoch=True)
    record.library, record.schedules[0].interval, record.schedules[0].call_site = "lightning", "epoch", MADE
    found = finding("schedule-per-epoch", record)
    assert '"interval": "step"' in found.fix and "scheduler.step" not in found.fix


def test_a_schedule_that_ignites_handler_moves_per_epoch_belongs_to_the_iterations():
    record = transformers_linear(40, UPDATES, per_epoch=True)
    record.library, record.schedules[0].interval, record.schedules[0].call_site = "ignite", "epoch", MADE
    fix = finding("schedule-per-epoch", record).fix
    assert "Events.ITERATION_STARTED" in fix and "scheduler.step" not in fix


def test_most_weights_without_a_gradient_are_blocked_where_no_encoder_is_known():
    record = run(encoder=None)
    record.parameters[0].part, record.parameters[0].gradient_norms = "head", [None] * 22
    found = finding("gradient-blocked", record)
    assert found.evidence["tensors_without_gradient"] == 2
    record.recomputed_site = Site("train.py", 30, "x = checkpoint(layer, x)")
    assert "use_reentrant=False" in check("gradient-blocked", record).fix
    passes("gradient-blocked", run())


def test_an_encoder_that_lightning_leaves_in_eval_mode_is_mended_where_it_is_loaded():
    record = run(library="lightning")
    for batch in record.batches:
        batch.encoder_training = False
    assert "Lightning" in check("eval-mode", record).fix


def test_the_rate_of_adapters_is_not_held_against_an_encoders():
    record = run(rate=1e-3, losses=lambda step: 1.39)
    finding("lr-too-high", record)
    for index in (0, 1):
        record.parameters[index].name = f"layer.{index}.lora_A.default.weight"
    passes("lr-too-high", record)


def test_a_rate_that_suits_an_encoder_is_too_low_for_adapters_and_a_fresh_head():
    record = run(rate=1e-5, losses=lambda step: 1.39)
    passes("lr-too-low", record)
    for index in (0, 1):
        record.parameters[index].name = f"layer.{index}.lora_A.default.weight"
    assert "adapters and the head" in check("lr-too-low", record).title


def test_a_high_rate_is_not_judged_by_steps_that_had_none_of_it_left():
    record = run(rate=5e-4, losses=lambda step: 1.39)
    finding("lr-too-high", record)
    for step in record.steps[10:]:
        step.rates = [0.0 for _ in step.rates]
    passes("lr-too-high", record)
