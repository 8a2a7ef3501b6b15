"""Which loader trains, which validates, and the pass over one that is going on."""

import time

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from diagnosis.observe.guard import Guard
from diagnosis.observe.limits import EVALUATION_SECONDS
from diagnosis.observe.loaders import Loaders
from diagnosis.observe.stopping import FastForward, Stopping
from diagnosis.record.record import Record


def rows(count=12):
    return TensorDataset(torch.arange(count))


@pytest.fixture
def loaders():
    guard = Guard([])
    yield Loaders(guard, Stopping(Record(), None, None))
    assert guard.errors == []


def passed_over(loaders, loader, batches, trains):
    iteration = loaders.iterated(loader, iter(loader))
    for _ in range(batches):
        next(iteration)
        if trains:
            loaders.count_backward()
    return iteration


def test_the_training_loader_is_the_one_whose_batches_backward_calls_followed(loaders):
    train, other = DataLoader(rows(), 2, shuffle=True), DataLoader(rows(), 2)
    passed_over(loaders, other, 6, trains=False)
    assert loaders.training() is None and loaders.epoch() == 0
    iteration = passed_over(loaders, train, 3, trains=True)
    assert loaders.training().loader is train and (loaders.training().votes, loaders.training().fetched) == (3, 3)
    assert loaders.iteration is iteration and iteration.active and loaders.in_training_pass()


def test_a_second_pass_over_the_training_loader_is_the_next_epoch(loaders):
    train = DataLoader(rows(), 6)
    for _ in range(2):
        for _ in loaders.iterated(train, iter(train)):
            loaders.count_backward()
    assert loaders.epoch() == 1 and not loaders.in_training_pass()


def test_the_validation_loader_is_told_by_its_name_and_its_order(loaders):
    train, val_loader, spare = DataLoader(rows(), 2, shuffle=True), DataLoader(rows(6), 2), DataLoader(rows(7), 2)
    for loader in (train, spare, val_loader):
        loaders.made(loader)
    passed_over(loaders, train, 2, trains=True)
    loaders.look_for_names([{"val_loader": val_loader, "spare": spare, "train": train}])
    assert loaders.validation().loader is val_loader


def test_a_loader_over_the_training_rows_is_no_validation_loader(loaders):
    data = rows()
    train, again = DataLoader(data, 2, shuffle=True), DataLoader(data, 2)
    passed_over(loaders, train, 2, trains=True), passed_over(loaders, again, 2, trains=False)
    assert loaders.validation() is None


def test_loaders_that_one_line_makes_in_every_epoch_or_fold_are_one_and_the_first_stands_for_all(loaders):
    made = []
    for _ in range(3):
        made.append(DataLoader(rows(), 2))
        loaders.made(made[-1])
        passed_over(loaders, made[-1], 2, trains=True)
    assert len({id(seen) for seen in loaders.by_id.values()}) == 1
    assert loaders.training().votes == 6 and loaders.training().loader is made[0]


def test_the_latest_batches_are_kept_as_they_came_although_the_script_takes_them_apart(loaders):
    loader = DataLoader([{"ids": torch.tensor(row), "labels": row % 2} for row in range(4)], 2)
    iteration = loaders.iterated(loader, iter(loader))
    next(iteration).pop("labels")
    assert set(iteration.recent[-1]) == {"ids", "labels"} and loaders.batches == 1


@pytest.mark.parametrize("evaluating, batches", [(0.0, 12), (EVALUATION_SECONDS, 4)])
def test_once_the_fast_forward_began_the_training_pass_ends_and_others_are_whole_while_there_is_time(
        loaders, evaluating, batches):
    train, val = DataLoader(rows(), 2), DataLoader(rows(), 1)
    iteration = passed_over(loaders, train, 2, trains=True)
    loaders.stopping.forward = FastForward(iteration, epochs=1, step=40, began=time.monotonic(),
                                           evaluating=evaluating)
    assert list(iteration) == [] and not iteration.active
    assert len(list(loaders.iterated(val, iter(val)))) == batches
