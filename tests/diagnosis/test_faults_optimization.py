"""What each check on optimization, precision and evaluation promises, on records written by hand.

A record here is a short healthy run of 100 planned steps (5 epochs of 20), of which 20 and two of the second epoch
were seen; every test changes the one thing that it is about.
"""

import importlib
import math

import pytest

from diagnosis.faults import catalogue
from diagnosis.record.record import (Batch, Clip, Control, Crash, Encoder, Group, Module, Parameter, Plan, Record,
                                     Schedule, Site, Split, Step, from_json, to_json)
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.judge import judge

NAMES = ("lr-zero lr-too-low schedule-per-epoch warmup-too-long schedule-exhausted lr-too-high "
         "optimizer-missing-params no-optimizer-step gradients-cleared gradients-accumulate clip-too-tight "
         "weight-decay-extreme loss-detached loss-sign fp16-overflow clip-before-unscale half-weights non-finite "
         "eval-train-mode majority-class loss-mismatched optimizer-remade too-few-steps").split()
MADE, CALLED, STEPPED = Site("train.py", 30), Site("train.py", 60, "scheduler.step()"), Site("train.py", 50)
PER_EPOCH, EPOCHS = 20, 5
UPDATES = PER_EPOCH * EPOCHS


def check(name, record):
    return importlib.import_module("diagnosis.faults." + name.replace("-", "_")).check(record)


def finding(name, record, level="error"):
    """The finding of that name, which must be there and complete."""
    found = check(name, record)
    assert isinstance(found, Finding), f"{name}: {found}"
    assert found.level == level
    assert found.title and found.title[0].islower() | found.title[0].isdigit() and not found.title.endswith(".")
    assert found.evidence and found.why and found.fix
    assert "nan" not in found.title
    return found


def passes(name, record):
    found = check(name, record)
    assert found is None, f"{name}: {found}"


def falling(step):
    return 1.38 - 0.02 * step + 0.01 * (-1) ** step


def run(seen=PER_EPOCH, more=2, rate=2e-5, losses=falling, **changes):
    """A healthy record: `seen` steps of the first epoch and `more` of the second, a whole model under AdamW."""
    steps = [Step(index, rates=[rate], loss=losses(index), gradient_norm=3.0, update_norm=0.05, weight_norm=100.0,
                  unchanged_share=0.0, epoch=int(index >= seen), site=STEPPED) for index in range(seen + more)]
    labels = [0, 1, 2, 3] * 4
    logits = [[0.3 * (row + shift) % 1 for shift in range(4)] for row in range(16)]
    batches = [Batch("training", index, 16, labels=labels, logits=logits, outputs=4, loss=losses(index),
                     loss_function="cross_entropy", loss_sign=1, loss_has_graph=True, encoder_training=True,
                     head_training=True, gradient_enabled=True, site=Site("train.py", 45))
               for index in range(seen + more)]
    record = Record(
        target="train.py", ended="enough seen", classes=4, backwards=seen + more, optimizer_steps=seen + more,
        zero_grads=seen + more, step_site=STEPPED, backward_site=Site("train.py", 47), zero_site=Site("train.py", 51),
        parameters=[parameter("bert.layer.weight", "layer 0", [1000, 1000], gradient=2.0),
                    parameter("bert.pooler.weight", "pooler", [100, 100], gradient=None),
                    parameter("classifier.weight", "head", [4, 1000], gradient=1.0)],
        groups=[Group("AdamW", rate, rate, weight_decay=0.01, parameters=3, elements=1_014_000, epsilon=1e-8,
                      made=MADE)],
        encoder=Encoder("BertModel", loaded_from="bert-base", hidden_size=768, layers=12, feature_similarity_first=0.8,
                        feature_similarity_last=0.75),
        modules=[Module("bert.dropout", "Dropout", "encoder", 0.1, True)],
        steps=steps, batches=batches, training=Split(rows=320, labels=labels * 20, loader="DataLoader"),
        plan=Plan(EPOCHS, PER_EPOCH, 1.0, UPDATES))
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def parameter(name, part, shape, gradient, group=0, dtype="float32", change=0.1, trainable=True):
    return Parameter(name, part, shape, dtype, trainable, group, mean=0.0, std=0.04, norm_first=40.0, norm_last=40.0,
                     change=change, gradient_norms=[gradient] * 22)


def linear(warm_up, total, places=UPDATES):
    """The factors of transformers' linear schedule."""
    return [place / max(1, warm_up) if place < warm_up else max(0.0, (total - place) / max(1, total - warm_up))
            for place in range(places + 1)]


def with_schedule(record, factors, per_epoch=False, calls_per_step=1, kind="LambdaLR", maker="", **arguments):
    """The record under a schedule with these factors, stepped by the script in one of the usual places."""
    base, steps = record.groups[0].initial_rate, record.steps
    calls_at = []
    for made, step in enumerate(steps, start=1):
        ends = made < len(steps) and steps[made].epoch != step.epoch
        calls_at += ([made] if ends else []) if per_epoch else [made] * calls_per_step
    for step in steps:
        place = sum(made <= step.index for made in calls_at)
        step.rates = [base * (factors[min(place, len(factors) - 1)] if factors else 1.0)]
    record.schedules = [Schedule(kind, maker or kind, arguments, MADE, len(calls_at), calls_at, CALLED, True,
                                 not per_epoch, factors, [base])]
    return record


def transformers_linear(warm_up, total, record=None, **how):
    return with_schedule(record or run(), linear(warm_up, total), maker="get_linear_schedule_with_warmup",
                         num_warmup_steps=warm_up, num_training_steps=total, **how)


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


def head_only(rate, losses):
    record = run(rate=rate, losses=losses)
    record.parameters[0].trainable = record.parameters[1].trainable = False
    record.parameters[0].group = record.parameters[1].group = None
    return record


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


def clipped(record, limit, before, scaled=False, scale=None):
    for step in record.steps:
        step.clip = Clip("norm", limit, before, scaled, Site("train.py", 48))
        step.gradient_norm, step.scale = min(limit, before), scale
    return record


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
    assert finding("loss-sign", record).where == MADE


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


# ---- precision


def scaled(skipped, scale=65536.0):
    record = run(scaler_used=True, autocast="float16")
    for step in record.steps:
        step.skipped, step.scale = skipped(step.index), scale
        if step.skipped:
            step.rates = [2e-5]
    return record


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
