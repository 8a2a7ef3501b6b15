"""What is written down of a learning-rate schedule."""

import sys

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, StepLR

from diagnosis.observe.guard import Guard
from diagnosis.observe.loaders import Loaders
from diagnosis.observe.schedules import Schedules, plain
from diagnosis.record.record import Record


@pytest.fixture
def optimizer():
    return torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.5)


@pytest.fixture
def schedules():
    guard = Guard([])
    yield Schedules(guard, Record(), Loaders(guard, None))
    assert guard.errors == []


def frames_within():
    frame, found = sys._getframe(1), []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def described(schedules, horizon=4, idle=()):
    return schedules.describe(horizon, set(idle), __file__, None)


def test_its_calls_are_counted_in_optimizer_steps(schedules, optimizer):
    scheduler = StepLR(optimizer, step_size=2, gamma=0.1)
    schedules.made(scheduler, frames_within())
    for made in (1, 3):
        schedules.record.optimizer_steps = made
        schedules.steps(scheduler)
        optimizer.step(), scheduler.step()
    schedule, = described(schedules)
    assert (schedule.kind, schedule.calls, schedule.calls_at, schedule.call_seen) == ("StepLR", 2, [1, 3], True)
    assert schedule.call_site.code == "schedules.steps(scheduler)" and schedule.base_rates == [0.5]


def test_its_rates_are_worked_out_as_it_was_made_and_it_does_not_move(schedules, optimizer):
    scheduler = StepLR(optimizer, step_size=2, gamma=0.1)
    schedules.made(scheduler, frames_within())
    schedules.look_before_first_step([{"scheduler": scheduler}])
    for _ in range(2):
        optimizer.step(), scheduler.step()
    schedule, = described(schedules)
    assert schedule.factors == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05) and scheduler.last_epoch == 2


def test_a_step_call_that_was_not_reached_is_read_in_the_source(schedules, optimizer):
    scheduler = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    schedules.made(scheduler, frames_within())
    schedules.look_before_first_step([{"scheduler": scheduler}])
    schedule, = described(schedules, horizon=1)
    assert not schedule.call_seen and schedule.call_site.code.endswith("scheduler.step()")
    assert schedule.factors == [1.0, 0.5]


def test_a_schedule_of_an_optimizer_that_is_not_used_is_left_out(schedules, optimizer):
    schedules.made(StepLR(optimizer, 1), frames_within())
    assert described(schedules, idle=[id(optimizer)]) == []


def test_only_plain_arguments_are_written_down():
    assert [plain(value) for value in (3, 0.5, "cosine", [1, 2], (1, 2), object(), [object()])] == \
        [3, 0.5, "cosine", [1, 2], [1, 2], None, None]
