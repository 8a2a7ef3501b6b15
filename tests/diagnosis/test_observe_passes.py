"""What is written down of a forward pass: what reached the model, the loss, and whether the pass trains."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from diagnosis.observe.guard import Guard
from diagnosis.observe.loaders import Loaders
from diagnosis.observe.evaluation import Evaluation
from diagnosis.observe.losses import Losses
from diagnosis.observe.models import Layers, Models, Parameters
from diagnosis.observe.passes import Passes
from diagnosis.observe.steps import Optimizers
from diagnosis.observe.stopping import Stopping
from diagnosis.observe.tokenizers import TokenizerCalls
from diagnosis.record.record import Record

IDS = torch.tensor([[5, 6, 7, 0], [8, 9, 0, 0], [5, 5, 5, 5]])
MASK = (IDS != 0).long()
LABELS = torch.tensor([2, 0, 1])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.activation, self.head = nn.Embedding(10, 4), nn.ReLU(), nn.Linear(4, 3)

    def forward(self, input_ids, attention_mask=None):
        return self.head(self.activation(self.embedding(input_ids).mean(1)))


@pytest.fixture
def passes():
    guard, record, models = Guard([]), Record(), Models()
    yield Passes(guard, record, models, Layers(guard), Loaders(guard, Stopping(record, None, None)),
                 TokenizerCalls(guard), Evaluation(guard, record))
    assert guard.errors == []


@pytest.fixture
def losses(passes):
    return Losses(passes.guard, passes.record, passes, Parameters(passes.models, Optimizers(passes.guard)))


def run(passes, model, *args, **kwargs):
    """A call of an outermost module, as the patches show it."""
    now = passes.module_begins(model, args, kwargs)
    passes.inside_module = True
    output = model(*args, **kwargs)
    passes.inside_module = False
    passes.module_ends(now, output)
    return output


def loss_of(losses, logits, labels, **settings):
    call = losses.loss_begins("cross_entropy", F.cross_entropy, (logits, labels), settings)
    loss = F.cross_entropy(logits, labels, **settings)
    losses.loss_ends(call, loss)
    return loss


def test_a_pass_is_described_as_the_model_gets_it_and_is_validation_until_a_backward_follows(passes, losses):
    model = Net().eval()
    run(passes, model, IDS, attention_mask=MASK)
    batch, = passes.record.batches
    assert (batch.rows, batch.width, batch.padding, batch.mask_given, batch.padding_shown) == (3, 4, 3, True, 0)
    assert (batch.role, batch.head_training) == ("validation", False)
    passes.trains(passes.open)
    assert batch.role == "training" and passes.models.trained == {id(model): model}


def test_a_head_that_computes_the_same_in_both_modes_is_not_asked_for_its_mode(passes):
    states = run(passes, Net().eval(), IDS, attention_mask=MASK)
    run(passes, nn.Linear(3, 2), states)
    assert passes.record.batches[0].head_training is False
    run(passes, nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.1)), states)
    assert passes.record.batches[0].head_training is True


def test_a_mask_is_told_from_the_ids_by_its_name_and_a_missing_one_is_missing(passes):
    run(passes, Net(), IDS)
    assert passes.record.batches[0].mask_given is False and passes.record.batches[0].padding_shown == 3


def test_a_module_without_parameters_is_no_model(passes):
    assert passes.module_begins(nn.ReLU(), (torch.ones(2),), {}) is None
    assert passes.module_begins(nn.CrossEntropyLoss(), (torch.ones(2),), {}) is None and passes.open is None


def test_the_same_module_called_again_begins_another_pass_and_the_samples_keep_the_first(passes, losses):
    model = Net()
    loss_of(losses, run(passes, model, IDS), LABELS)
    run(passes, model, IDS)
    sample, = passes.samples_of("validation")
    assert sample.ids == [[5, 6, 7], [8, 9], [5, 5, 5, 5]] and sample.labels == [2, 0, 1]
    assert len(passes.past) == len(passes.record.batches) == 2


def test_two_models_called_on_one_batch_are_one_pass(passes):
    first, second = Net(), nn.Linear(3, 3)
    run(passes, second, run(passes, first, IDS))
    past, = passes.past
    assert past.roots == [id(first), id(second)] and [call.module for call in passes.open.calls] == [first, second]


def test_another_view_of_the_batch_that_trains_is_training_too(passes):
    model = Net()
    loader = DataLoader(list(IDS), 3)
    next(passes.loaders.iterated(loader, iter(loader)))
    run(passes, model, IDS), run(passes, model, IDS)
    passes.trains(passes.open)
    assert [batch.role for batch in passes.record.batches] == ["training", "training"]


def test_a_loss_is_described_before_it_runs_so_that_its_crash_is_explained(passes, losses):
    logits = run(passes, Net(), IDS)
    losses.loss_begins("cross_entropy", F.cross_entropy, (logits, LABELS + 1), {})
    batch, = passes.record.batches
    assert (batch.labels, batch.outputs, batch.last_operation, batch.loss) == ([3, 1, 2], 3, "linear", None)


def test_the_loss_that_backward_runs_on_is_told_with_its_sign_and_its_graph(passes, losses):
    loss = loss_of(losses, run(passes, Net(), IDS), LABELS, label_smoothing=0.1)
    passes.trains(passes.open)
    losses.backward_on(-loss)
    batch, = passes.record.batches
    assert (batch.loss_sign, batch.loss_has_graph, batch.label_smoothing) == (-1, True, 0.1)
    assert batch.loss == pytest.approx(float(loss))


def test_of_two_losses_the_one_that_backward_runs_on_counts(passes, losses):
    logits = run(passes, Net(), IDS)
    loss = loss_of(losses, logits, LABELS)
    loss_of(losses, logits.detach(), torch.zeros(3, dtype=torch.long))
    losses.backward_on(loss)
    assert passes.record.batches[0].labels == [2, 0, 1]


def test_a_loss_that_no_function_of_torch_computed_is_read_from_its_graph(passes, losses):
    scores = run(passes, Net(), IDS)
    loss = -scores.log_softmax(-1)[torch.arange(3), LABELS].mean()
    losses.backward_on(loss)
    batch, = passes.record.batches
    assert (batch.labels, batch.outputs, batch.loss_function) == ([2, 0, 1], 3, None)
    assert batch.loss == pytest.approx(float(loss))


def test_a_figure_about_the_batch_that_was_learned_from_is_no_pass(passes, losses):
    logits = run(passes, Net(), IDS)
    loss_of(losses, logits, LABELS)
    passes.trains(passes.open)
    with torch.no_grad():
        assert losses.loss_begins("cross_entropy", F.cross_entropy, (logits, LABELS), {}) is None
    assert len(passes.record.batches) == 1


def test_the_pass_of_a_crash_is_training_where_gradients_were_asked_for(passes):
    run(passes, Net().train(), IDS)
    passes.settle_crashed()
    assert passes.record.batches[0].role == "training"


def test_dead_units_and_training_flags_are_noted_of_training_passes(passes):
    model = Net()
    run(passes, model, IDS)
    passes.layer_ends(model.activation, torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    passes.trains(passes.open)
    assert passes.layers.zero_share[id(model.activation)] == 0.5
    assert passes.layers.training[id(model.head)] is True


def test_passes_through_other_models_than_the_trained_one_are_left_out(passes):
    trained, other = Net(), Net()
    run(passes, trained, IDS)
    passes.trains(passes.open)
    run(passes, other, IDS)
    passes.close()
    assert passes.batches_of_trained_model() == passes.record.batches_of("training")
