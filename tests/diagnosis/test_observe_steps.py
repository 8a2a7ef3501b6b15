"""What is written down of an optimizer step, and which calls make one."""

import pytest
import torch
from torch import nn

from diagnosis.observe.gradients import Gradients
from diagnosis.observe.guard import Guard
from diagnosis.observe.loaders import Loaders
from diagnosis.observe.models import Models, Parameters
from diagnosis.observe.scaling import Scaling, ScalerStep
from diagnosis.observe.steps import Optimizers, Steps, unchanged_share, made_at
from diagnosis.record import facts
from diagnosis.record.record import Record


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Linear(4, 2)


@pytest.fixture
def steps(net):
    guard, record, models = Guard([]), Record(), Models()
    optimizers, scaling = Optimizers(guard), Scaling(guard, record)
    models.knows(net)
    gradients = Gradients(guard, record, Parameters(models, optimizers), scaling)
    yield Steps(record, gradients, scaling, optimizers, Loaders(guard, None))
    assert guard.errors == []


def backward(steps, net):
    loss = net(torch.ones(3, 4)).square().mean()
    steps.gradients.backward_begins(loss, None)
    loss.backward()
    steps.gradients.backward_ended()
    return loss.item()


def step(steps, optimizer, run=None):
    steps.optimizers.step_begins(optimizer)
    steps.begins(optimizer, closure=False)
    (run or optimizer.step)()
    return steps.ends(optimizer)


def test_a_step_is_written_down_with_loss_gradient_update_and_rate(steps, net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    steps.optimizers.made(optimizer)
    loss = backward(steps, net)
    assert step(steps, optimizer)
    seen, = steps.record.steps
    assert seen.loss == pytest.approx(loss) and seen.zeroed and not seen.cleared and seen.backwards == 1
    assert seen.update_norm == pytest.approx(0.1 * seen.gradient_norm, rel=1e-4) and seen.unchanged_share == 0
    assert steps.rates == [{(id(optimizer), 0): 0.1}]
    assert set(steps.gradient_norms[0]) == {id(each) for each in net.parameters()}
    assert seen.site.file.endswith("test_observe_steps.py")


@pytest.mark.parametrize("maximize", [False, True])
def test_whether_a_step_goes_down_or_up_the_gradient_is_measured(steps, net, maximize):
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, maximize=maximize)
    backward(steps, net)
    step(steps, optimizer)
    seen, = steps.record.steps
    assert (seen.along_gradient > 0.5) == maximize and (seen.along_gradient < -0.5) == (not maximize)
    backward(steps, net)
    step(steps, optimizer, run=lambda: None)
    assert steps.record.steps[1].along_gradient is None


def test_what_befalls_the_gradient_between_backward_and_step_can_be_told(steps, net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    backward(steps, net)
    for parameter in net.parameters():
        parameter.grad.mul_(1e-3)
    step(steps, optimizer)
    seen, = steps.record.steps
    assert seen.norm_of_backward == pytest.approx(1e3 * seen.gradient_norm, rel=1e-4)


def test_a_second_optimizer_on_the_same_backward_joins_the_step(steps, net):
    first, second = torch.optim.SGD([net.weight], lr=0.1), torch.optim.SGD([net.bias], lr=0.1)
    backward(steps, net)
    assert step(steps, first) and not step(steps, second)
    seen, = steps.record.steps
    whole = float(torch.cat([each.grad.flatten() for each in net.parameters()]).norm())
    assert seen.gradient_norm == pytest.approx(whole, rel=1e-5) and steps.record.optimizer_steps == 1


def test_the_same_optimizer_twice_on_one_backward_makes_two_steps(steps, net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    backward(steps, net)
    assert step(steps, optimizer) and step(steps, optimizer)
    assert [seen.backwards for seen in steps.record.steps] == [1, 0]


def test_gradients_that_were_zeroed_after_backward_are_told_as_cleared(steps, net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    backward(steps, net)
    steps.gradients.zero_grad_called()
    optimizer.zero_grad()
    step(steps, optimizer)
    assert steps.record.steps[0].cleared and steps.record.steps[0].gradient_norm is None


def test_gradients_made_within_the_step_by_a_closure_are_measured_after_it(steps, net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    steps.optimizers.step_begins(optimizer)
    steps.begins(optimizer, closure=True)
    optimizer.step(lambda: backward(steps, net))
    assert steps.ends(optimizer) and steps.closures
    assert steps.record.steps[0].gradient_norm > 0 and not steps.record.steps[0].cleared


def test_a_step_that_the_scaler_skips_counts_as_none(steps, net):
    backward(steps, net)
    steps.skipped(ScalerStep(1024.0, None))
    seen, = steps.record.steps
    assert seen.skipped and seen.scale == 1024.0 and steps.record.optimizer_steps == 0


def test_weights_whose_updates_round_away_are_counted():
    gradients = [torch.tensor([1.0, 1.0, 0.0, 1.0]), None]
    assert unchanged_share(gradients, [torch.tensor([0.0, 0.1, 0.0, 0.0]), torch.ones(2)]) == pytest.approx(2 / 3)
    assert unchanged_share([torch.zeros(2)], [torch.zeros(2)]) is None


def test_an_optimizer_is_remembered_with_the_loops_that_made_it(steps, net):
    for _ in range(2):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        steps.optimizers.made(optimizer)
    making = steps.optimizers.making_of(optimizer)
    assert making.rates == (0.1,) and making.site.code == "steps.optimizers.made(optimizer)"
    assert [file.endswith("test_observe_steps.py") for file, _ in making.loops] == [True]
    assert steps.optimizers.making_of(None).site is None


def test_an_optimizer_made_anew_for_the_same_weights_takes_the_place_of_the_one_before(steps, net):
    for _ in range(3):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        steps.optimizers.made(optimizer)
        backward(steps, net)
        step(steps, optimizer)
    assert list(steps.optimizers.by_id.values()) == steps.optimizers.used() == [optimizer]
    assert len({key for rates in steps.rates for key in rates}) == 1
    remaking, = steps.optimizers.remakings()
    assert (remaking.kind, remaking.at) == ("optimizer", [1, 2])
    assert remaking.site.code == "steps.optimizers.made(optimizer)"


def test_an_optimizer_for_other_weights_or_one_that_was_never_used_is_not_made_anew(steps, net):
    for _ in range(2):
        steps.optimizers.made(torch.optim.SGD(net.parameters(), lr=0.1))
    for layer in (nn.Linear(4, 2), nn.Linear(4, 2)):
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        steps.optimizers.made(optimizer)
        backward(steps, net)
        step(steps, optimizer)
    assert steps.optimizers.remakings() == []


def test_an_optimizer_is_placed_where_the_script_calls_its_class_and_not_within_it():
    class Own(torch.optim.SGD):
        def __init__(self, parameters):
            super().__init__(parameters, lr=0.1)
            self.place = made_at(self)

    own = Own([torch.nn.Parameter(torch.ones(2))])
    assert own.place.code == "own = Own([torch.nn.Parameter(torch.ones(2))])"


class Uphill(torch.optim.Optimizer):
    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self):
        for parameter in self.param_groups[0]["params"]:
            parameter.add_(parameter.grad, alpha=0.1)


def test_a_step_of_the_scripts_own_is_known_by_its_line_and_torchs_is_not(net):
    own, = facts.describe_model(net, [Uphill(net.parameters())], None)[1]
    assert own.own_code and own.step_defined.code == "def step(self):" and own.step_defined.file.endswith(
        "test_observe_steps.py")
    torchs, = facts.describe_model(net, [torch.optim.AdamW(net.parameters())], None)[1]
    assert torchs.step_defined is None
