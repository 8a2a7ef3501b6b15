"""What is seen of a script's own evaluation: its passes, what it holds against labels, whose weights were evaluated."""

import copy
import json

import pytest
import torch
from test_observer import LOADERS, SETUP, observe, line_of  # noqa: F401 (a fixture, and the scripts' beginning)
from torch import nn

from diagnosis.observe import fingerprints
from diagnosis.observe.evaluation import column
from diagnosis.record.record import UNKNOWN_LABEL

TRAINING = """
model = Net()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for epoch in range({epochs}):
    model.train()
    for a, b, y in train:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(a, b), y)
        loss.backward()
        optimizer.step()
"""
LATE = TRAINING.format(epochs=4) + "model.eval()\nwith torch.no_grad():\n"


def test_an_evaluation_after_all_epochs_is_reached_and_seen_whole(observe):     # noqa: F811
    record = observe(SETUP, LOADERS, LATE + """
    guesses = torch.cat([model(a, b).argmax(1) for a, b, y in val])
print("right", (guesses == labels[320:]).sum().item())
""")
    assert record.optimizer_steps == 42 and "right" in observe.output
    evaluation, = record.evaluations
    assert evaluation.step == 42 and evaluation.whole and evaluation.weights == "trained"
    assert len(evaluation.outputs) == len(evaluation.labels) == 80 and UNKNOWN_LABEL not in evaluation.labels
    scored, = record.scored
    assert scored.labels == evaluation.labels and scored.by == "=="
    assert scored.predictions == [row.index(max(row)) for row in evaluation.outputs]


def test_labels_stay_with_their_rows_where_a_loss_sorts_them_and_another_model_runs_behind_it(observe):     # noqa: F811
    record = observe("import copy, json\n", SETUP, LOADERS, LATE + """
    for a, b, y in DataLoader(TensorDataset(ids[320:], mask[320:], labels[320:]), batch_size=80):
        logits, order = model(a, b), torch.randperm(80)
        nn.functional.cross_entropy(logits[order] / 1.5, y[order])
        copy.deepcopy(model)(a[order], b[order])        # as where it was saved and is loaded again
        print(json.dumps([y.tolist(), logits.argmax(1).tolist()]))
""")
    evaluation = record.evaluations[-1]
    labels, guesses = json.loads(observe.output.splitlines()[-1])
    assert [row.index(max(row)) for row in evaluation.outputs] == guesses
    assert evaluation.labels == labels


def test_what_is_trained_on_the_way_to_the_end_adds_nothing_to_the_facts_of_training(observe):     # noqa: F811
    record = observe(SETUP, LOADERS, "from torch.optim.lr_scheduler import StepLR\n", TRAINING.format(epochs=9).replace(
        "for epoch", "schedule = StepLR(optimizer, 1)\nfor epoch") + "    schedule.step()\n")
    assert record.optimizer_steps == len(record.steps) == len(record.batches_of("training")) == record.backwards == 42
    assert [schedule.calls for schedule in record.schedules] == [1] and {step.epoch for step in record.steps} == {0, 1}
    assert record.ended == "enough seen"


@pytest.mark.parametrize("loop, by", [
    ("    right = sum((model(a, b).argmax(1) == y).sum().item() for a, b, y in val)", "=="),
    ("    right = sum(torch.eq(model(a, b).argmax(1), y).sum().item() for a, b, y in val)", "=="),
    ("    found = [(model(a, b).argmax(1).numpy(), y.numpy()) for a, b, y in val]\nimport numpy\n"
     "guesses, truth = map(numpy.concatenate, zip(*found))\nprint((truth == guesses).mean())", "=="),
    ("    guesses = [guess for a, b, y in val for guess in model(a, b).argmax(1).tolist()]\n"
     "from sklearn.metrics import f1_score\nprint(f1_score(labels[320:], guesses, average='macro'))", "f1_score"),
    ("    metric = Accuracy('multiclass', num_classes=3)\n    for a, b, y in val:\n        metric(model(a, b), y)\nprint(metric.compute())", "MulticlassAccuracy")])
def test_what_is_held_against_labels_is_seen_however_it_is_written(observe, loop, by):     # noqa: F811
    if by == "MulticlassAccuracy":
        pytest.importorskip("torchmetrics")
    imports = "from torchmetrics import Accuracy\n" if by == "MulticlassAccuracy" else "import sklearn.metrics\n"
    record = observe(SETUP, imports, LOADERS, LATE + loop + "\n")
    scored, = record.scored
    assert (scored.by, len(scored.labels), scored.first_row) == (by, 80, 0)
    assert scored.labels == record.evaluations[0].labels
    assert scored.predictions == [row.index(max(row)) for row in record.evaluations[0].outputs]
    assert scored.site.file == "train.py"


def test_a_script_that_compares_numbers_of_its_own_is_not_changed_by_being_seen(observe):     # noqa: F811
    observe(SETUP, LOADERS, TRAINING.format(epochs=1), """
import numpy
class Same:
    def __eq__(self, other): return "same"
print(Same() == 3, [1, 2] == [1, 2], (numpy.arange(3) == numpy.arange(3)).all(), 1 == 1.0, torch.ones(2) == 1)
""")
    assert "same True True True tensor([True, True])" in observe.output


def test_rows_of_an_earlier_fold_are_known_again_unless_the_model_is_new(observe):     # noqa: F811
    folds = """
    both = torch.utils.data.TensorDataset(ids, mask, labels)
    model = Net()
    first = {{name: value.clone() for name, value in model.state_dict().items()}}
    for fold in range(2):
        {anew}
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        part = [list(range(200)), list(range(200, 400))]
        for a, b, y in DataLoader(torch.utils.data.Subset(both, part[fold]), 20, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(a, b), y).backward()
            optimizer.step()
        with torch.no_grad():
            for a, b, y in DataLoader(torch.utils.data.Subset(both, part[1 - fold]), 20):
                model(a, b)
    """
    carried = observe(SETUP, folds.format(anew="pass")).evaluations
    assert [each.rows_trained_before for each in carried] == [None, 1.0] and carried[1].rows_trained_now == 0.0
    for anew in ("model = Net()", "model.load_state_dict(first)"):
        assert [each.rows_trained_before for each in observe(SETUP, folds.format(anew=anew)).evaluations] == [None, None]


def test_the_same_rows_go_through_the_model_twice(observe):     # noqa: F811
    record = observe(SETUP, LOADERS, LATE + "    for a, b, y in val:\n        model(a, b)\n")
    assert record.repeated.difference == 0 and record.repeated.spread > 0
    noisy = SETUP.replace("return self.head(", "return nn.functional.dropout(torch.ones(3), 0.5) * self.head(")
    record = observe(noisy, LOADERS, LATE + "    for a, b, y in val:\n        model(a, b)\n")
    assert record.repeated.difference > 0 and "dropout" in record.repeated.dropout.code


# whose weights


@pytest.fixture
def trained():
    """(a model as trained, its fingerprints before and after, a copy from before)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
    before, first = copy.deepcopy(model), fingerprints.of(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01
    return model, first, fingerprints.of(model), before


def origin(module, trained):
    return fingerprints.origin(module, *trained[:3])


def test_a_model_a_copy_and_a_wrapper_of_it_have_the_trained_weights(trained):
    wrapped = nn.Module()
    wrapped.module = trained[0]
    assert [origin(module, trained) for module in (trained[0], copy.deepcopy(trained[0]), wrapped)] == ["trained"] * 3


def test_weights_as_before_the_first_step_are_untrained_and_averages_are_others(trained):
    model, _, _, before = trained
    assert origin(before, trained) == "untrained"
    with torch.no_grad():
        for parameter, other in zip(before.parameters(), model.parameters()):
            parameter.lerp_(other, 0.001)
    assert origin(before, trained) == "other"


def test_the_trained_model_put_back_to_its_beginning_is_untrained(trained):
    model, _, _, before = trained
    model.load_state_dict(before.state_dict())
    assert origin(model, trained) == "untrained"


def test_a_model_of_another_form_cannot_be_compared(trained):
    assert origin(nn.Linear(5, 5), trained) is None
    model = trained[0]
    still = fingerprints.of(model)
    assert fingerprints.origin(model, model, still, still) is None      # nothing has moved


@pytest.mark.parametrize("encoder, head, said", [
    (["last"] * 5, ["last"] * 2, "trained"), (["first"] * 5, ["other"] * 2, "fresh head on an untrained encoder"),
    (["last"] * 5, ["other"] * 2, "fresh head"), (["last"] * 5, ["first"] * 2, "fresh head"),
    (["first"] * 5, ["last"] * 2, "other"), (["other"] * 5, ["other"] * 2, "other"),
    ([], ["other"] * 2, "other"), (["first"] * 5, ["first"] * 2, "untrained")])
def test_the_parameters_together_say_where_weights_come_from(encoder, head, said):
    assert fingerprints.summed_up(encoder, head) == said


@pytest.mark.parametrize("value, expected", [
    (torch.tensor([[1], [0]]), [1, 0]), (torch.tensor([1.0, 2.0]), [1, 2]), (["a", "b"], ["a", "b"]),
    (torch.tensor([True, False]), [1, 0]), (torch.zeros(2, 3), None), (3, None), ([], None)])
def test_a_column_is_one_value_per_row(value, expected):
    assert column(value) == expected
