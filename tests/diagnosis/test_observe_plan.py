"""How long a script means to train, from the loops around its first optimizer step."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from diagnosis.observe.guard import Guard
from diagnosis.observe.plan import Surroundings, drop_if_exceeded, plan_from_loops, planned_rates
from diagnosis.observe.steps import Optimizers
from diagnosis.record.record import Plan, Record, Schedule, Step


def surroundings():
    found = Surroundings()
    found.look(sys._getframe(1))
    return found


def mine(found):
    """The loops of this file alone: pytest runs tests in loops of its own."""
    return [loop for loop in found.loops if loop.file == __file__]


def test_the_loop_over_the_loader_holds_the_batches_and_the_loops_around_it_are_the_epochs():
    loader = DataLoader(list(range(12)), 4)
    for epoch in range(5):
        for batch in loader:
            found = surroundings()
    plan = Plan(batches_per_epoch=3, batches_per_step=2.0)
    plan_from_loops(plan, mine(found), SimpleNamespace(loader=loader))
    assert (plan.epochs, plan.batches_per_epoch, plan.steps) == (5, 3, 10)
    assert found.batch_loop().kind == "loader" and found.trainer is None


def test_a_loop_of_steps_over_an_iterator_is_counted_in_steps():
    for step in range(30):
        found = surroundings()
    plan = Plan(batches_per_epoch=10, batches_per_step=1.0)
    plan_from_loops(plan, mine(found), training=SimpleNamespace())
    assert (plan.epochs, plan.steps) == (3, 30)


def test_without_a_loader_the_innermost_loop_is_taken_for_the_batches():
    for epoch in range(2):
        for first in range(0, 32, 8):
            found = surroundings()
    plan = Plan(batches_per_step=1.0)
    plan_from_loops(plan, mine(found), None)
    assert (plan.epochs, plan.batches_per_epoch, plan.steps) == (2, 4, 8)


def test_a_comprehension_is_a_loop_too_whose_length_may_be_unknown():
    for epoch in range(3):
        found = [surroundings() for first in range(0, 32, 8)][-1]
    plan = Plan(batches_per_step=1.0)
    plan_from_loops(plan, mine(found), None)
    assert (plan.epochs, plan.batches_per_epoch, plan.steps) == (3, 4, 12)
    for epoch in range(3):
        batches = map(str, range(4))
        found = {surroundings() for batch in batches}.pop()
    plan = Plan(batches_per_step=1.0)
    plan_from_loops(plan, mine(found), None)
    assert (plan.epochs, plan.batches_per_epoch, plan.steps) == (3, None, None)


@pytest.mark.parametrize("seen, known", [(3, True), (4, False)])
def test_a_plan_of_fewer_steps_than_were_seen_is_none(seen, known):
    plan = Plan(epochs=3, batches_per_epoch=1, batches_per_step=1.0, steps=3, how="the script's loops")
    record = Record(plan=plan, steps=[Step(place) for place in range(seen)])
    drop_if_exceeded(record)
    assert (record.plan.steps == 3) is known and (record.plan.epochs == 3) is known


@pytest.mark.parametrize("in_batch_loop, expected", [(True, [0.2, 0.1, 0.05, 0.025]), (False, [0.2, 0.1, 0.1, 0.1])])
def test_rates_go_on_from_those_seen_as_the_schedule_is_stepped(in_batch_loop, expected):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.2)
    schedule = Schedule("StepLR", "StepLR", call_in_batch_loop=in_batch_loop, factors=[1, 0.5, 0.25, 0.125],
                        base_rates=[0.2])
    record = Record(plan=Plan(batches_per_epoch=2, batches_per_step=1.0, steps=4), schedules=[schedule])
    seen = [{(id(optimizer), 0): 0.2}, {(id(optimizer), 0): 0.1}]
    observer = SimpleNamespace(record=record, steps=SimpleNamespace(rates=seen),
                               stopping=SimpleNamespace(forward=None), optimizers=Optimizers(Guard([])))
    assert [rate for rate, in planned_rates(observer, optimizer, most=10)] == pytest.approx(expected)
