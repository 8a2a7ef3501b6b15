"""The outcome of a run, from what was measured alone."""

import math

import pytest

from diagnosis.record.record import Batch, Control, Parameter, Plan, Record, Step
from diagnosis.verdict.outcome import measured

LABELS = [0, 1] * 8


def record_of(losses, change=1.0, planned=1000, apart=None):
    """A run of two classes with these losses; change: of weights whose norm is 100."""
    record = Record(optimizer_steps=len(losses), plan=Plan(steps=planned))
    record.steps = [Step(index=place, loss=loss) for place, loss in enumerate(losses)]
    record.batches = [Batch("training", place, 16, labels=LABELS, loss=loss, loss_function="cross_entropy")
                      for place, loss in enumerate(losses)]
    record.parameters = [Parameter("weight", "head", [10, 10], "float32", True, norm_first=100.0, change=change)]
    record.controls = [Control("input-matters", "", apart)]
    return record


FLAT = [0.69 + 0.01 * (-1) ** place for place in range(42)]


def test_a_loss_clearly_below_guessing_learns():
    assert measured(record_of([0.7 - 0.01 * place for place in range(42)])) == "learns"


def test_a_loss_that_falls_below_zero_is_no_loss_of_a_classifier():
    assert measured(record_of([-0.1 * place for place in range(42)])) != "learns"


def test_a_flat_loss_is_too_early_to_tell_while_the_weights_move():
    assert measured(record_of(FLAT)) == "too early to tell"


def test_a_flat_loss_whose_weights_hardly_move_does_not_learn():
    assert measured(record_of(FLAT, change=1e-4)) == "does not learn"


def test_what_a_fresh_head_tells_apart_by_luck_is_no_learning_where_the_weights_hardly_move():
    assert measured(record_of(FLAT, change=1e-4, apart=True)) == "does not learn"


def test_weights_that_decay_alone_moves_do_not_learn():
    record = record_of(FLAT, apart=True)
    record.parameters[0].gradient_norms = [0.0, 0.0]
    assert measured(record) == "does not learn"


def test_a_run_seen_to_its_end_without_learning_does_not_learn():
    assert measured(record_of(FLAT, planned=45)) == "does not learn"
    assert measured(record_of(FLAT, planned=45, apart=True)) == "too early to tell"


def test_a_loss_that_climbs_far_above_guessing_does_not_learn_whatever_climbs_it():
    assert measured(record_of([0.7 + 0.1 * place for place in range(42)])) == "does not learn"
    assert measured(record_of([0.7 + 0.005 * place for place in range(42)])) == "too early to tell"


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_a_loss_that_is_lost_does_not_learn(lost):
    assert measured(record_of([0.7] * 10 + [lost] * 10)) == "does not learn"


def test_a_handful_of_losses_is_too_early_to_tell_and_no_step_tells_nothing():
    assert measured(record_of([0.7] * 5)) == "too early to tell"
    assert measured(record_of([])) == ""
