"""What is written down of gradients between one optimizer step and the next."""

import pytest
import torch
from torch import nn

from diagnosis.observe.gradients import Gradients
from diagnosis.observe.guard import Guard
from diagnosis.observe.models import Models, Parameters
from diagnosis.observe.scaling import Scaling
from diagnosis.observe.steps import Optimizers
from diagnosis.record.record import Record


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Linear(4, 2)


@pytest.fixture
def gradients(net):
    guard, record, models = Guard([]), Record(), Models()
    assert models.knows(net)
    yield Gradients(guard, record, Parameters(models, Optimizers(guard)), Scaling(guard, record))
    assert guard.errors == []


def backward(gradients, net, factor=1.0, scaler=None):
    loss = net(torch.ones(3, 4)).square().mean() * factor
    if scaler is not None:
        scaled = scaler.scale(loss)
        gradients.scaling.scaled(scaler, scaled)
        loss = scaled
    gradients.backward_begins(loss, None)
    loss.backward()
    gradients.backward_ended()
    return loss.item()


def norm_of(net):
    return float(torch.cat([each.grad.flatten() for each in net.parameters()]).norm())


def test_the_first_backward_finds_no_gradient_before_it_and_leaves_one_on_every_parameter(gradients, net):
    loss = backward(gradients, net)
    draft = gradients.draft
    assert (draft.backwards, draft.norm_before, draft.cleared) == (1, 0.0, False)
    assert draft.having == {id(each) for each in net.parameters()} and float(draft.loss) == pytest.approx(loss)
    assert draft.norm_after == pytest.approx(norm_of(net), rel=1e-5)


def test_gradients_that_were_not_zeroed_are_seen_before_the_next_steps_first_backward(gradients, net):
    backward(gradients, net)
    left = norm_of(net)
    gradients.begin_anew()
    backward(gradients, net)
    assert gradients.draft.norm_before == pytest.approx(left, rel=1e-5)


def test_backward_calls_pile_up_until_the_step(gradients, net):
    backward(gradients, net), backward(gradients, net)
    assert gradients.draft.backwards == gradients.record.backwards == 2 and gradients.draft.norm_before == 0.0
    gradients.begin_anew()
    assert gradients.draft.backwards == 0 and gradients.record.backwards == 2


def test_zeroing_counts_as_clearing_only_after_a_backward(gradients, net):
    gradients.zero_grad_called()
    assert not gradients.draft.cleared
    backward(gradients, net)
    gradients.zero_grad_called()
    assert gradients.draft.cleared and gradients.record.zero_grads == 2
    assert gradients.record.zero_site.file.endswith("test_observe_gradients.py")


def test_parameters_without_a_gradient_are_not_among_those_measured(gradients, net):
    net.bias.requires_grad_(False)
    backward(gradients, net)
    assert set(gradients.measure()) == set(gradients.last) == {id(net.weight)}


def test_clipping_is_noted_with_its_norm_and_whether_the_scale_was_still_on_the_gradients(gradients, net):
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    loss = backward(gradients, net, scaler=scaler)
    assert gradients.draft.factor == 64.0 and float(gradients.draft.loss) == pytest.approx(loss)
    gradients.clipped("norm", 1.0, torch.tensor(3.0), None)
    assert (gradients.draft.clip.norm_before, gradients.draft.clip.scaled) == (3.0, True)
    gradients.scaling.unscaled()
    gradients.clipped("value", 0.5, None, None)
    assert (gradients.draft.clip.kind, gradients.draft.clip.norm_before, gradients.draft.clip.scaled) == \
        ("value", None, False)


def test_a_loss_in_the_place_of_one_that_was_scaled_is_scaled_alike_and_known_for_it(gradients, net):
    scaler, scaling = torch.amp.GradScaler("cpu", init_scale=64.0), gradients.scaling
    plain = net(torch.ones(3, 4)).mean()
    scaled, other = scaler.scale(plain), plain * 2
    scaling.scaled(scaler, scaled)
    replaced = scaling.scaled_like(scaled, other)
    assert float(replaced.detach()) == 64 * float(other.detach()) and scaling.factor_of(replaced) == 64.0
    assert scaling.scaled_like(plain, other) is other and scaling.factor_of(other) == 1.0


def test_a_scaler_that_is_switched_off_puts_no_factor_on_anything(gradients, net):
    backward(gradients, net, scaler=torch.amp.GradScaler("cpu", enabled=False))
    assert gradients.draft.factor == 1.0 and not gradients.scaling.on_gradients and not gradients.record.scaler_used
