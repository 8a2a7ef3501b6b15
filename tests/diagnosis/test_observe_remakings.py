"""Models made or loaded anew while a script trains."""

import copy

import pytest
import torch
from torch import nn

from diagnosis.observe import before_training
from diagnosis.observe.checkpoints import Checkpoints
from diagnosis.observe.guard import Guard
from diagnosis.observe.models import Models
from diagnosis.observe.passes import Call
from diagnosis.observe.remakings import Remakings
from diagnosis.observe.steps import Optimizers


@pytest.fixture
def remakings():
    guard = Guard([])
    return Remakings(Checkpoints(guard), Optimizers(guard))


def described(net):
    models = Models()
    models.knows(net)
    return before_training.describe(models, Optimizers(Guard([])), Checkpoints(Guard([])))


def trained(net):
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1)


def test_a_second_model_of_the_same_form_is_one_made_anew_and_another_kind_is_not(remakings):
    net = nn.Linear(4, 2)
    before = described(net)
    for epoch in range(3):
        for _ in range(2):
            remakings.look([Call(net, (), {})], before, 2 * epoch)
        net = nn.Linear(4, 2)
        remakings.checkpoints.loaded("load_state_dict", net, set(), None)
    remakings.look([Call(nn.Linear(4, 3), (), {})], before, 9)
    found, = remakings.found
    assert (found.kind, found.how, found.at) == ("model", "made", [2, 4])
    assert found.loop.code == "for epoch in range(3):" and found.loops_within == 1
    assert not remakings.are_enough()


def test_weights_as_before_the_first_step_are_loaded_anew_and_those_of_the_best_epoch_are_not(remakings):
    net = nn.Linear(4, 2)
    before, first = described(net), copy.deepcopy(net.state_dict())
    best = None
    for step in range(6):
        if step == 3:
            net.load_state_dict(best)
        if step == 5:
            net.load_state_dict(first)
            remakings.checkpoints.loaded("load_state_dict", net, set(), None)
        remakings.look([Call(net, (), {})], before, step)
        trained(net)
        best = best or copy.deepcopy(net.state_dict())
    found, = remakings.found
    assert (found.how, found.at) == ("loaded", [5])
    assert found.loop.code == "for step in range(6):" and found.loops_within == 0


def test_a_model_whose_weights_never_move_is_not_loaded_anew(remakings):
    net = nn.Linear(4, 2)
    before = described(net)
    for step in range(4):
        remakings.look([Call(net, (), {})], before, step)
    assert remakings.found == []
