"""What the checks of schedules and rates promise, on records written by hand."""

import math

import pytest
from planned_records import (CALLED, EPOCHS, MADE, NAMES, PER_EPOCH, UPDATES, check, falling, finding, head_only,
                             linear, passes, run, transformers_linear, with_schedule)

from diagnosis.record.record import Control, Crash, Encoder, Group, Plan, Site
from diagnosis.verdict.finding import NotMeasured
from diagnosis.verdict.judge import judge


# ---- schedule-per-epoch


def test_the_case_that_made_this_project_is_named_with_its_rates_and_both_lines():
    record = transformers_linear(300, UPDATES, per_epoch=True)
    found = finding("schedule-per-epoch", record)
    assert "0 at every step of the first epoch" in found.title
    assert found.where == CALLED
    assert found.evidence["scheduler_steps_seen"] == 1
    assert found.evidence["optimizer_steps_seen"] == 22
    assert found.evidence["lr"] == 0.0
    assert found.evidence["base_lr"] == 2e-5
    assert found.evidence["warm_up_steps"] == 300
    assert found.evidence["planned_epochs"] == 5
    assert found.evidence["lr_in_last_epoch"] == pytest.approx(2e-5 * 4 / 300, rel=0.01)
    assert found.evidence["schedule"] == "made in train.py:30"
    assert "move train.py:60" in found.fix and "(train.py:50)" in found.fix


def test_the_help_for_a_schedule_per_epoch_says_what_its_warm_up_needs_once_the_line_is_moved():
    assert "can stay as it is" in finding("schedule-per-epoch", transformers_linear(50, UPDATES, per_epoch=True)).fix
    assert f"shorter warm-up than {UPDATES:,} of" in finding(
        "schedule-per-epoch", transformers_linear(UPDATES, UPDATES, per_epoch=True)).fix


def test_where_loop_and_schedule_are_in_different_functions_or_files_the_help_says_what_has_to_be_passed():
    record = transformers_linear(50, UPDATES, per_epoch=True)
    record.step_site = Site("engine.py", 12, "optimizer.step()", function="train_epoch")
    fix = finding("schedule-per-epoch", record).fix
    assert "after optimizer.step() (engine.py:12), and no longer in train.py:60" in fix
    assert "the schedule has to be passed to train_epoch()" in fix


def test_a_schedule_made_for_twice_the_steps_that_accumulation_leaves_can_not_stay_as_it_is():
    record = transformers_linear(20, 2 * UPDATES, per_epoch=True)
    record.plan.batches_per_step = 2.0
    fix = finding("schedule-per-epoch", record).fix
    assert "can stay as it is" not in fix
    assert f"counts {2 * UPDATES} steps and this run makes {UPDATES}, one for 2 batches: give it that number" in fix


def test_a_schedule_per_epoch_is_the_first_cause_and_its_warm_up_is_not_blamed():
    record = transformers_linear(300, 1500, run(more=0), per_epoch=True)
    record.schedules[0].calls_at, record.schedules[0].calls, record.schedules[0].call_seen = [], 0, False
    assert max(rate for step in record.steps for rate in step.rates) == 0
    judgement = judge(record)
    assert judgement.findings[0].name == "schedule-per-epoch"
    assert "lr-zero" in [finding.name for finding in judgement.findings[1:]]
    assert "warmup-too-long" in judgement.passed


def test_a_call_that_was_only_read_in_the_source_is_enough():
    record = transformers_linear(10, UPDATES, run(more=0), per_epoch=True)
    record.schedules[0].calls_at, record.schedules[0].calls, record.schedules[0].call_seen = [], 0, False
    assert finding("schedule-per-epoch", record).evidence["scheduler_steps_seen"] == 0


def test_a_decay_by_steps_that_moves_per_epoch_learns_and_is_a_warning():
    assert finding("schedule-per-epoch", transformers_linear(0, UPDATES, per_epoch=True), "warning")
    cosine = [0.5 * (1 + math.cos(math.pi * place / UPDATES)) for place in range(UPDATES + 1)]
    assert finding("schedule-per-epoch", with_schedule(run(), cosine, True, kind="CosineAnnealingLR", T_max=UPDATES),
                   "warning")


def test_a_one_cycle_schedule_per_epoch_stays_at_the_foot_of_its_cycle():
    factors = [1 + 24 * min(place, 30) / 30 for place in range(UPDATES + 1)]
    record = with_schedule(run(rate=2e-6), factors, True, kind="OneCycleLR", total_steps=UPDATES)
    assert finding("schedule-per-epoch", record).where == CALLED


@pytest.mark.parametrize("kind, factors, arguments", [
    ("StepLR", [0.5 ** (place // 2) for place in range(101)], {"step_size": 2, "gamma": 0.5}),
    ("ExponentialLR", [0.95 ** place for place in range(101)], {"gamma": 0.95}),
    ("LambdaLR", [0.95 ** place for place in range(101)], {}),
    ("LambdaLR", [max(0.0, 1 - place / EPOCHS) for place in range(101)], {}),
    ("CosineAnnealingLR", [0.5 * (1 + math.cos(math.pi * place / 5)) for place in range(101)], {"T_max": EPOCHS}),
    ("ReduceLROnPlateau", [], {"patience": 2}),
])
@pytest.mark.parametrize("name", NAMES[:5])
def test_schedules_meant_for_epochs_are_healthy_once_per_epoch(name, kind, factors, arguments):
    passes(name, with_schedule(run(), factors, True, kind=kind, **arguments))


def test_too_few_steps_to_see_how_often_a_schedule_moves_are_not_measured():
    record = transformers_linear(10, UPDATES, run(seen=2, more=0))
    record.schedules[0].call_in_batch_loop = None
    record.schedules[0].calls_at = []
    assert isinstance(check("schedule-per-epoch", record), NotMeasured)


# ---- warmup-too-long


def test_a_warm_up_of_nine_tenths_is_an_error_and_of_a_half_a_warning():
    found = finding("warmup-too-long", transformers_linear(500, 1000))
    assert found.evidence["warm_up_steps"] == 500 and found.evidence["planned_schedule_steps"] == UPDATES
    assert found.where == MADE
    finding("warmup-too-long", transformers_linear(60, UPDATES), "warning")
    passes("warmup-too-long", transformers_linear(40, UPDATES))


def test_a_warm_up_is_counted_in_the_units_in_which_the_script_steps_it():
    passes("warmup-too-long", transformers_linear(80, 4 * UPDATES, calls_per_step=4))
    finding("warmup-too-long", with_schedule(run(), [place / 5 for place in range(6)], True))      # five of five epochs


def test_a_hand_written_warm_up_is_seen_by_its_rising_factors():
    finding("warmup-too-long", with_schedule(run(), [place / 1000 for place in range(UPDATES + 1)]))
    passes("warmup-too-long", with_schedule(run(), [min(1, (place + 1) / 10) for place in range(UPDATES + 1)]))


def test_a_warm_up_without_a_known_plan_is_not_measured():
    assert isinstance(check("warmup-too-long", transformers_linear(10, UPDATES, run(plan=Plan()))), NotMeasured)


# ---- schedule-exhausted


def test_a_total_of_one_epoch_leaves_nothing_for_the_others():
    found = finding("schedule-exhausted", transformers_linear(2, PER_EPOCH))
    assert found.evidence["rate_gone_at_share_of_run"] == pytest.approx(0.2, abs=0.02)
    assert found.where == MADE


def test_a_rate_that_the_loop_lowers_by_hand_until_it_is_gone_is_found_without_a_plan():
    record = run(plan=Plan(), rate_sites=[Site("train.py", 51)])
    for step in record.steps:
        step.rates = [2e-5 * 0.6 ** step.index]
    assert finding("schedule-exhausted", record).where == Site("train.py", 51)
    record.ended = "script ended"       # that was its last step, rightly
    passes("schedule-exhausted", record)
    passes("schedule-exhausted", run(plan=Plan()))


def test_a_schedule_stepped_twice_per_step_ends_at_one_half_and_the_call_is_blamed():
    found = finding("schedule-exhausted", transformers_linear(0, UPDATES, calls_per_step=2))
    assert found.where == CALLED and "once per optimizer step" in found.fix


def test_a_per_epoch_decay_stepped_per_batch_is_exhausted():
    finding("schedule-exhausted", with_schedule(run(), [0.1 ** place for place in range(UPDATES + 1)], kind="StepLR"))


def test_a_cosine_that_turns_round_is_a_warning_and_one_with_restarts_healthy():
    cosine = [0.5 * (1 + math.cos(math.pi * place / 20)) for place in range(UPDATES + 1)]
    found = finding("schedule-exhausted", with_schedule(run(), cosine, kind="CosineAnnealingLR", T_max=20), "warning")
    assert "rises again" in found.title
    passes("schedule-exhausted", with_schedule(run(), cosine, kind="CosineAnnealingWarmRestarts", T_0=20))


def test_a_schedule_that_ends_with_the_run_or_later_is_healthy():
    passes("schedule-exhausted", transformers_linear(0, UPDATES))
    passes("schedule-exhausted", transformers_linear(10, 80))
    passes("schedule-exhausted", transformers_linear(0, 4 * UPDATES))


def test_one_cycle_refusing_to_go_on_is_explained():
    message, where = "Tried to step 101 times. The specified number of total steps is 100", Site("t.py", 9)
    assert finding("schedule-exhausted", run(crash=Crash("ValueError", message, "", where))).where == where


def test_a_rate_that_a_metric_takes_away_within_the_first_epoch_is_seen_by_the_rates():
    record = with_schedule(run(), [], kind="ReduceLROnPlateau")
    for step in record.steps:
        step.rates = [2e-5 * 0.1 ** (step.index // 5)]
    finding("schedule-exhausted", record)


# ---- lr-zero


def test_a_rate_of_zero_at_every_step_is_found():
    found = finding("lr-zero", run(rate=0.0))
    assert found.evidence["base_lr"] == 0 and found.where == MADE


def test_a_rate_below_what_fp32_can_add_is_found_by_the_weights_that_stay():
    record = run(rate=1e-9)
    for step in record.steps:
        step.unchanged_share = 0.99
    assert "round to nothing" in finding("lr-zero", record).title


def test_a_schedule_that_is_never_stepped_keeps_the_zero_of_its_warm_up():
    record = with_schedule(run(), linear(10, UPDATES), num_warmup_steps=10)
    for step in record.steps:
        step.rates = [0.0]
    record.schedules[0].calls, record.schedules[0].calls_at, record.schedules[0].call_site = 0, [], None
    assert "call scheduler.step()" in finding("lr-zero", record).fix


def test_a_zero_at_the_first_step_alone_is_healthy_and_alone_it_is_not_judged():
    record = transformers_linear(10, UPDATES)
    assert record.steps[0].rates == [0.0]
    passes("lr-zero", record)
    assert isinstance(check("lr-zero", transformers_linear(10, UPDATES, run(seen=1, more=0))), NotMeasured)


def test_a_group_at_zero_beside_one_that_learns_is_no_error():
    record = run()
    record.groups.append(Group("AdamW", 0.0, 0.0, elements=4000, epsilon=1e-8, made=MADE))
    record.parameters[2].group = 1
    for step in record.steps:
        step.rates = [2e-5, 0.0]
    assert finding("lr-zero", record, "warning").evidence["parts"] == ["head"]
    record.parameters[2].group, record.parameters[0].group = 0, 1
    finding("lr-zero", record, "note")


# ---- lr-too-low


def test_a_rate_that_moves_no_weight_far_enough_in_the_whole_plan_is_too_low():
    flat = lambda step: 1.386 + 0.01 * (-1) ** step
    found = finding("lr-too-low", run(rate=1e-7, losses=flat))
    assert found.evidence["sum_of_rates"] == pytest.approx(1e-5)
    finding("lr-too-low", run(rate=1e-6, losses=flat))
    finding("lr-too-low", run(rate=3e-6, losses=flat), "warning")


@pytest.mark.parametrize("rate, epochs", [(2e-5, 1), (2e-5, 5), (5e-5, 3), (1e-5, 2), (1e-6, 60)])
def test_usual_rates_are_healthy_even_in_short_runs_with_a_flat_beginning(rate, epochs):
    flat = lambda step: 1.386 + 0.01 * (-1) ** step
    passes("lr-too-low", run(rate=rate, losses=flat, plan=Plan(epochs, PER_EPOCH, 1.0, epochs * PER_EPOCH)))


def test_a_head_on_a_frozen_encoder_needs_more_than_the_encoders_rate():
    flat = lambda step: 1.386 + 0.01 * (-1) ** step
    found = finding("lr-too-low", head_only(2e-5, flat))
    assert "the head" in found.title and "1e-3" in found.fix
    finding("lr-too-low", head_only(1e-4, flat), "warning")
    passes("lr-too-low", head_only(1e-3, flat))
    passes("lr-too-low", head_only(1e-4, falling))


def test_a_head_with_a_group_far_below_the_encoders_is_a_warning():
    record = run()
    record.groups.append(Group("AdamW", 1e-7, 1e-7, elements=4000, epsilon=1e-8, made=MADE))
    record.parameters[2].group = 1
    for step in record.steps:
        step.rates = [2e-5, 1e-7]
    assert finding("lr-too-low", record, "warning").evidence["head_lr"] == 1e-7


def test_plain_gradient_descent_is_judged_by_what_the_loss_can_fall_by():
    flat = lambda step: 1.386 + 0.01 * (-1) ** step
    record = run(rate=2e-5, losses=flat)
    record.groups = [Group("SGD", 2e-5, 2e-5, momentum=0.0, made=MADE, elements=1_014_000)]
    assert finding("lr-too-low", record).evidence["loss_can_fall_by"] == pytest.approx(2e-5 * 9 * UPDATES)
    record = run(rate=1e-2, losses=flat)
    record.groups = [Group("SGD", 1e-2, 1e-2, momentum=0.9, made=MADE, elements=1_014_000)]
    passes("lr-too-low", record)


def test_a_rate_is_not_called_too_low_where_the_schedule_is_at_fault_or_the_optimizer_learns():
    passes("lr-too-low", transformers_linear(300, 1500, per_epoch=True))
    passes("lr-too-low", transformers_linear(5000, 10000))
    passes("lr-too-low", run(rate=0.0))
    passes("lr-too-low", run(rate=1e-6, controls=[Control("own-optimizer", "?", True)]))


def test_a_rate_without_a_plan_is_not_measured_unless_the_controls_bear_witness():
    flat = lambda step: 1.386 + 0.01 * (-1) ** step
    record = run(rate=1e-7, losses=flat, plan=Plan())
    assert isinstance(check("lr-too-low", record), NotMeasured)
    record.controls = [Control("own-optimizer", "?", False), Control("model-overfits", "?", True)]
    finding("lr-too-low", record)


# ---- lr-too-high


def test_a_loss_that_leaps_up_at_a_high_rate_and_stays_at_guessing_is_found():
    record = run(rate=1e-2, losses=lambda step: 1.39 if step < 2 else 1.4 + 4 / step)
    found = finding("lr-too-high", record)
    assert found.evidence["lr"] == 1e-2 and found.evidence["loss_of_guessing"] == pytest.approx(math.log(4), rel=0.01)


def test_a_collapsed_encoder_and_a_known_hopeless_rate_are_found():
    flat = lambda step: 1.39 + 0.01 * (-1) ** step
    record = run(rate=3e-4, losses=flat)
    record.encoder.feature_similarity_last = 0.9995
    assert "collapsed" in finding("lr-too-high", record).title
    finding("lr-too-high", run(rate=1e-3, losses=flat))
    passes("lr-too-high", run(rate=1e-4, losses=flat))


def test_a_sweep_in_which_a_much_lower_rate_learns_is_a_witness():
    flat = lambda step: 1.39 + 0.01 * (-1) ** step
    sweep = Control("rate-sweep", "?", False, {"rates": [1e-5, 1e-4, 3e-4], "losses": [1.0, 0.6, 1.5]})
    found = finding("lr-too-high", run(rate=5e-4, losses=flat, controls=[sweep]))
    assert found.level == "error"
    record = run(rate=2e-3, losses=flat, controls=[Control("rate-sweep", "?", False,
                 {"rates": [1e-4, 1e-3], "losses": [0.5, None]})])
    record.encoder.loaded_from = None
    assert finding("lr-too-high", record).evidence["sweep_best_rate"] == 1e-4


def test_a_high_rate_that_learns_is_healthy():
    passes("lr-too-high", run(rate=1e-4))
    passes("lr-too-high", run(rate=1e-3, losses=lambda step: 1.38 - 0.03 * step))
    record = run(rate=1e-3, losses=lambda step: 1.39 + 0.01 * (-1) ** step)
    record.encoder = Encoder("BertModel", hidden_size=32)
    passes("lr-too-high", record)


def test_a_head_on_a_frozen_encoder_and_sgd_bear_high_rates():
    flat = lambda step: 1.39 + 0.01 * (-1) ** step
    passes("lr-too-high", head_only(1e-2, flat))
    record = run(rate=0.1, losses=flat)
    record.groups[0] = Group("SGD", 0.1, 0.1, made=MADE, elements=1_014_000)
    passes("lr-too-high", record)


def test_a_peak_that_the_warm_up_has_not_reached_yet_is_a_warning():
    finding("lr-too-high", transformers_linear(90, UPDATES, run(rate=1e-2)), "warning")


def test_nan_after_a_divergence_is_put_down_to_the_rate():
    record = run(rate=1.0, losses=lambda step: [1.4, 9.0, 80.0][step] if step < 3 else math.nan)
    assert [finding.name for finding in judge(record).findings][0] == "lr-too-high"
