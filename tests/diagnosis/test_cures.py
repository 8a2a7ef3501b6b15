"""A finding's cure is tried: the script runs again with that alone mended, and what came of it is said."""

import json
import random
import subprocess

import pytest

import diagnose_bert
from diagnosis.cures import changes, mends
from diagnosis.cures.comparing import cure_of
from diagnosis.cures.trials import Trials
from diagnosis.faults import catalogue
from diagnosis.record.record import Batch, Control, Encoder, Group, Parameter, Record, Step
from diagnosis.verdict import report
from diagnosis.verdict.conclusion import found_by_trial
from diagnosis.verdict.finding import Finding
from diagnosis.verdict.judge import Judgement, concluded

SCRIPT = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ids = torch.randint(4, 50, (640, 8), generator=torch.Generator().manual_seed(1))
data = TensorDataset(ids, (ids[:, 0] > 27).long())
model = nn.Sequential(nn.Embedding(50, 16), nn.Flatten(), nn.Linear(128, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for epoch in range(2):
    for inputs, labels in DataLoader(data, batch_size=16, shuffle=True):
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
"""
CLIPPED = SCRIPT.replace("        optimizer.step()", "        nn.utils.clip_grad_norm_(model.parameters(), 1e-9)\n"
                         "        optimizer.step()")
STILL_AND_CLEARED = SCRIPT.replace("lr=1e-2", "lr=0.0").replace("        optimizer.step()\n", "").replace(
    "optimizer.zero_grad()", "optimizer.zero_grad()\n        optimizer.step()")
DETACHED_AND_CLIPPED = CLIPPED.replace("        loss.backward()", "        loss = loss.detach().requires_grad_()\n"
                                       "        loss.backward()")
SOON_OVER = SCRIPT.replace("range(2)", "range(6)").replace("        optimizer.step()", """        optimizer.step()
        schedule.step()""").replace("for epoch", """schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step < 30)
for epoch""")
PUT_BACK = SCRIPT.replace("for epoch", "first = [each.clone().detach() for each in model.parameters()]\nfor epoch", 1) + """
        with torch.no_grad():
            for each, value in zip(model.parameters(), first):
                each.copy_(value)
"""


def examined(folder, python, source, *constants):
    """(status, screen, report.json) of that script; it has no seed of its own."""
    (folder / "train.py").write_text(source)
    done = subprocess.run([python, diagnose_bert.__file__, *constants, "train.py"], cwd=folder, capture_output=True,
                          text=True, timeout=240)
    return done.returncode, done.stdout, json.loads((folder / "runs/diagnosis/report.json").read_text())


@pytest.fixture(scope="module")
def clipped(tmp_path_factory, python):
    folder = tmp_path_factory.mktemp("clipped")
    return folder, *examined(folder, python, CLIPPED)


def test_what_trying_the_cure_showed_is_the_sixth_part_of_a_finding(clipped):
    _, status, screen, told = clipped
    [first] = [one for one in told["findings"] if one["level"] == "error"]
    assert status == 1 and first["name"] == "clip-too-tight"
    text = " ".join(screen.split())
    assert "tried: with the gradients not clipped, nothing else changed: loss " in text
    assert text.index("help: ") < text.index("tried: ") < text.index("checked and passed")


def test_the_report_holds_both_runs_losses_of_as_many_steps(clipped):
    *_, told = clipped
    cure = told["findings"][0]["cure"]
    assert cure["tried"] == "the gradients not clipped" and cure["learns"] is True and cure["steps"] == 40
    assert cure["loss_mended"][1] < 0.8 * cure["loss_as_it_is"][1]
    assert cure["loss_as_it_is"][0] == pytest.approx(cure["loss_as_it_is"][1], abs=0.1)


def test_a_trial_changes_no_file_of_the_script(clipped):
    folder, *_ = clipped
    assert {path.name for path in folder.iterdir()} == {"train.py", "runs"}
    assert (folder / "train.py").read_text() == CLIPPED


def test_two_causes_are_each_tried_alone_and_then_together(tmp_path, python):
    status, screen, told = examined(tmp_path, python, STILL_AND_CLEARED)
    tried = [one["cure"]["tried"] for one in told["findings"] if one["cure"]]
    assert status == 1 and len(tried) == 2 and tried[0] == tried[1] and "the rate held" in tried[0]
    assert all(one["cure"]["learns"] for one in told["findings"] if one["cure"])
    assert "both are needed" in " ".join(screen.split())
    assert all(one["cure"]["steps"] == 40 for one in told["findings"] if one["cure"])     # 12 were enough for the verdict


def test_what_only_the_mended_run_shows_is_named_as_the_second_cause(tmp_path, python):
    """As it is no gradient is there to be clipped."""
    status, screen, told = examined(tmp_path, python, DETACHED_AND_CLIPPED)
    first, second = [one for one in told["findings"] if one["level"] == "error"]
    assert status == 1 and [first["name"], second["name"]] == ["loss-detached", "clip-too-tight"]
    assert first["cure"] == second["cure"] and first["cure"]["learns"] and second["evidence"]["seen_with"]
    assert "both are needed" in " ".join(screen.split())


def test_harm_that_comes_late_is_shown_by_longer_runs(tmp_path, python):
    """In forty steps the run learns as well as it does mended."""
    status, screen, told = examined(tmp_path, python, SOON_OVER)
    [first] = [one for one in told["findings"] if one["level"] == "error"]
    assert status == 1 and first["name"] == "schedule-exhausted"
    assert first["cure"]["steps"] == 120 and first["cure"]["helps"]
    assert first["cure"]["loss_mended"][1] < 0.5 * first["cure"]["loss_as_it_is"][1]


def test_a_cause_that_no_check_knows_is_searched_by_trial(tmp_path, python):
    status, screen, told = examined(tmp_path, python, PUT_BACK)
    assert status == 1 and told["outcome"] == "does not learn"
    assert "found by trial: it learns with AdamW at a constant " in told["verdict"]
    assert len(told["trials"]) >= 3 and not all(trial["helps"] for trial in told["trials"])
    assert screen.count("  tried: ") >= len(told["trials"])


def test_nothing_is_tried_on_demand(tmp_path, python):
    status, screen, told = examined(tmp_path, python, CLIPPED, "--CURE=False")
    assert status == 1 and told["findings"][0]["cure"] is None
    assert told["findings"][0]["cure_reason"] == "--CURE=False"


# ---- two runs compared


def run_of(losses, function="cross_entropy"):
    record = Record(optimizer_steps=len(losses))
    record.batches = [Batch("training", place, 16, labels=[0, 1] * 8, loss=loss, loss_function=function)
                      for place, loss in enumerate(losses)]
    return record


def luck(seed, spread=0.05):
    chance = random.Random(seed)
    return [chance.gauss(0, spread) for _ in range(40)]


FLAT = [0.69 + noise for noise in luck(1)]
FALLING = [loss - 0.01 * place for place, loss in enumerate(FLAT)]
MEND = mends.Mend("something else", {})


def test_a_run_that_learns_where_it_did_not_is_cured():
    cure = cure_of(MEND, run_of(FLAT), run_of(FALLING), "does not learn")
    assert cure.learns and cure.helps and cure.said == "it learns" and cure.steps == 40
    assert cure.loss_mended[0] > cure.loss_mended[1] and len(cure.loss_as_it_is) == 2


@pytest.mark.parametrize("seed", range(10))
def test_luck_is_not_taken_for_a_cure(seed):
    other = [0.69 + noise for noise in luck(seed + 2)]
    assert not cure_of(MEND, run_of(FLAT), run_of(other), "does not learn").helps


def test_what_makes_no_difference_to_a_run_that_learns_is_said_and_is_no_error():
    record = run_of(FALLING)
    cure = cure_of(MEND, record, run_of([loss + noise / 10 for loss, noise in zip(FALLING, luck(2))]), "learns")
    assert cure.learns and not cure.helps and "no difference" in cure.said
    finding = Finding("error", "", {}, "", "", name="eval-mode")
    Trials(record, Judgement([finding], outcome="learns"), "", 0).judge_without_effect(finding, cure)
    assert finding.level == "warning"


def test_a_mend_that_does_not_reach_the_run_shows_nothing():
    record = run_of(FALLING)
    cure = cure_of(MEND, record, run_of(FALLING), "learns")
    assert not cure.helps and "the same to the last digit" in cure.said
    finding = Finding("error", "", {}, "", "", name="gradient-blocked")
    Trials(record, Judgement([finding], outcome="learns"), "", 0).judge_without_effect(finding, cure)
    assert finding.level == "error"


def test_a_loss_put_in_the_place_of_the_scripts_is_judged_by_itself():
    """A ReLU behind the last layer keeps the script's own loss where it is until an output rises above 0."""
    mended = run_of(FLAT)
    mended.steps = [Step(place, loss=loss) for place, loss in enumerate(FALLING)]
    cure = cure_of(mends.cross_entropy(mended), run_of(FLAT), mended, "does not learn")
    assert cure.helps and cure.loss_mended[1] < 0.5


def test_a_loss_that_is_lower_and_does_not_learn_yet_is_said_to_be_so():
    cure = cure_of(MEND, run_of(FLAT), run_of([loss - 0.015 for loss in FLAT]), "does not learn")
    assert cure.lower and not cure.learns and not cure.helps and "not enough in so few steps" in cure.said


@pytest.mark.parametrize("others, longer", [(0, True), (1, False)])
def test_of_an_only_cause_longer_runs_are_made_where_it_is_too_early_to_tell(others, longer):
    mended = run_of(FLAT)
    cure = cure_of(MEND, run_of(FLAT), mended, "does not learn")
    causes = [(Finding("error", "", {}, "", "", name="encoder-frozen"), []) for _ in range(1 + others)]
    trials = Trials(run_of(FLAT), Judgement([cause for cause, _ in causes], causes=causes), "", 0)
    trials.last = mended
    assert not cure.learns and trials.is_too_short(cure) is longer


def test_losses_of_another_kind_are_not_compared():
    cure = cure_of(MEND, run_of([-0.1 * place for place in range(40)], "nll_loss"), run_of(FALLING), "does not learn")
    assert cure.helps and cure.said == "it learns"


def test_a_trial_that_comes_to_few_steps_says_why():
    with pytest.raises(ValueError, match="with something else the run made 5 steps in the time left"):
        cure_of(MEND, run_of(FLAT), Record(ended="time limit", optimizer_steps=5), "does not learn")


def test_what_is_found_by_trial_stands_once_though_a_check_took_it_for_less():
    first, warned, behind = (Finding(level, "", {}, "", "", name=name) for level, name in (
        ("error", "lr-too-high"), ("warning", "lr-too-low"), ("error", "weight-decay-extreme")))
    judgement = Judgement([first, behind, warned], causes=[(first, [behind]), (warned, [])])
    for name in ("weight-decay-extreme", "lr-too-low"):
        found_by_trial(judgement, "something else", Finding("error", "", {}, "", "", name=name))
    assert [(each.level, each.name) for each in judgement.findings] == [
        ("error", "lr-too-high"), ("error", "weight-decay-extreme"), ("error", "lr-too-low")]
    assert [(cause.name, also) for cause, also in judgement.causes] == [
        ("lr-too-high", []), ("weight-decay-extreme", []), ("lr-too-low", [])]


# ---- the mends


def test_every_general_mend_names_changes_that_there_are_and_faults_of_the_catalogue():
    record = Record(groups=[Group("AdamW", 1e-3, 1e-3)])
    for make, name in mends.GENERAL:
        mend = make(record)
        assert all(changes.change(part) for part in mend.changes), mend
        assert not name or name in catalogue()


@pytest.mark.parametrize("group", [0, None])
def test_the_rate_tried_is_one_that_whole_layers_bear_though_no_gradient_moved_them_yet(group):
    layer = Parameter("bert.encoder.layer.0.output.dense.weight", "layer 0", [64, 64], "float32", True, group,
                      gradient_norms=[0.0, 0.0])
    head = Parameter("classifier.weight", "head", [2, 64], "float32", True, group, gradient_norms=[0.0, 0.0])
    record = Record(groups=[Group("AdamW", 1e-8, 1e-8)], parameters=[layer, head], encoder=Encoder(hidden_size=64),
                    controls=[Control("rate-sweep", "", True, {"best_rate": 0.1})])
    assert mends.sweeps_best(record) == mends.MOST_FOR_SMALL
    layer.trainable = False
    assert mends.sweeps_best(record) == 0.1
    rates = [mend.changes["rates"]["rate"] for mend, _ in mends.general(record) if "rates" in mend.changes]
    assert rates == [mends.MOST_FOR_SMALL]          # tried together with all parameters trainable


def test_what_is_frozen_under_adapters_stays_so():
    adapter = Parameter("encoder.layer.0.query.lora_A.weight", "layer 0", [8, 64], "float32", True, 0)
    frozen = Parameter("encoder.layer.0.query.weight", "layer 0", [64, 64], "float32", False, None)
    tried = {name for _, name in mends.general(Record(parameters=[adapter, frozen]))}
    assert "encoder-frozen" not in tried and "encoder-frozen" in {name for _, name in mends.general(Record())}


def test_a_fault_whose_cure_cannot_be_tried_says_why_and_what_the_controls_showed(tmp_path):
    record = Record(controls=[Control("labels-from-tokens", "can the labels be predicted from the tokens?", False)])
    judgement = concluded(record, Judgement([Finding("error", "", {}, "", "", name="labels-random")]))
    text = " ".join("\n".join(line for part in report.screen_parts(
        record, judgement, tmp_path, Trials(record, judgement, tmp_path, 0)) for line in part).split())
    assert "tried: nothing: no change of the run gives the labels a meaning; the controls instead: " in text
    assert "can the labels be predicted from the tokens: no" in text
