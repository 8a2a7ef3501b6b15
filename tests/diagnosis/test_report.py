"""The report: one verdict, findings that read like a compiler's, tables, report.json by the contract, two pictures."""

import json
import math

import numpy
import pytest
from PIL import Image

from diagnosis.faults import catalogue
from diagnosis.record.record import (Batch, Clip, Control, Crash, Encoder, Group, Parameter, Plan, Record, Schedule,
                                     Site, Split, Step, Tokenizer, Warned)
from diagnosis.verdict import conclusion, pictures, report, tables
from diagnosis.verdict.conclusion import leads_to_crash
from diagnosis.verdict.finding import Finding
from diagnosis.verdict.judge import Judgement, concluded, in_order_of_cause, under_their_causes

STEPS = 40


def parameters(frozen_layers):
    made = []

    def add(name, part, shape, trainable, size):
        norms = [size / (1 + 0.02 * step) for step in range(STEPS)] if trainable else [None] * STEPS
        made.append(Parameter(name, part, shape, "float32", trainable, 0 if trainable else None, norm_first=20.0,
                              norm_last=20.0, change=0.0, gradient_norms=norms))

    add("bert.embeddings.word_embeddings.weight", "embeddings", [30522, 768], not frozen_layers, 0.9)
    for layer in range(12):
        for name in ("attention.self.query", "intermediate.dense"):
            add(f"bert.encoder.layer.{layer}.{name}.weight", f"layer {layer}", [768, 768], layer >= frozen_layers,
                0.1 + 0.05 * layer)
    add("bert.pooler.dense.weight", "pooler", [768, 768], True, 1.3)
    add("classifier.weight", "head", [4, 768], True, 6.1)
    return made


def per_epoch_run():
    """Four classes, nine of twelve layers frozen, a linear schedule with 300 warm-up steps stepped once per epoch."""
    factors = [min(step / 300, (1500 - step) / 1200) for step in range(1501)]
    labels = [0, 1, 2, 3, 1, 1, 0, 2] * 40
    record = Record(target="train.py", device="cpu", ended="enough seen", seconds=41.234, classes=4, backwards=STEPS,
                    optimizer_steps=STEPS, zero_grads=STEPS, parameters=parameters(9))
    record.encoder = Encoder("BertModel", "bert-base-uncased", 12, 768, 30522, loaded_from="bert-base-uncased")
    record.groups = [Group("AdamW", 0.0, 2e-5, 0.01, 10, 21_900_000, made=Site("train.py", 120))]
    record.tokenizer = Tokenizer("bert-base-uncased", "BertTokenizer", 30522, 100, 0, 101, 102, 128, True,
                                 full_lengths=[12, 30, 200, 44, 17], kept_lengths=[12, 30, 128, 44, 17],
                                 shown=[{"text": f"I love this game | number {i}, it is really great",
                                         "tokens": ["[CLS]", "i", "love", "this", "game", "[SEP]"],
                                         "ids": [101, 1045, 2293, 2023, 2208, 102], "label": 1} for i in range(3)])
    record.training = Split(rows=9600, labels=labels, batch_size=32, batches=300, shuffled=True, loader="DataLoader")
    record.validation = Split(rows=1000, labels=labels[:100], batch_size=32, batches=32, shuffled=False)
    record.batches = [Batch("training", step, 32, 128, 900, 3196, True, 0, 0, 3, outputs=4, loss=1.39,
                            loss_function="cross_entropy", encoder_training=True, head_training=True,
                            labels=labels[:32], site=Site("train.py", 133)) for step in range(STEPS)]
    record.steps = [Step(step, [0.0], loss=1.39 + 0.01 * (step % 3), gradient_norm=7.5, epoch=0)
                    for step in range(STEPS)]
    record.schedules = [Schedule("LambdaLR", "get_linear_schedule_with_warmup",
                                 {"num_warmup_steps": 300, "num_training_steps": 1500}, Site("train.py", 121),
                                 call_site=Site("train.py", 142, "scheduler.step()"), call_in_batch_loop=False,
                                 factors=factors, base_rates=[2e-5])]
    record.plan = Plan(5, 300, 1.0, 1500, "read from the script's loop")
    record.controls = [
        Control("labels-from-tokens", "can the labels be predicted from the tokens?", True,
                {"accuracy": 0.712, "permuted": 0.291, "permuted_spread": 0.012}),
        Control("model-overfits", "can a copy of this model learn one batch by heart?", True,
                {"loss_first": 1.41, "loss_last": 0.02, "steps": 40}),
        Control("own-optimizer", "can the script's own optimizer and schedule?", False,
                {"loss_first": 1.41, "loss_last": 1.40}),
        Control("rate-sweep", "which rate suits?", None, {}, "no time was left for it")]
    return record


def learning_run():
    """The same with a loss that falls."""
    record = per_epoch_run()
    for place, seen in enumerate([*record.steps, *record.batches_of("training")]):
        seen.loss = 1.4 * 0.97 ** (place % len(record.steps))
    return record


def finding(name="schedule-per-epoch", level="error", title="the learning rate is 0 at every step", evidence=None,
            where=Site("train.py", 142, "scheduler.step()")):
    return Finding(level, title, evidence or {"optimizer_steps_seen": 40, "rates": [0.0] * 40, "base_lr": 2e-5},
                   "it would warm up until epoch 300", "move line 142 into the batch loop", where, name,
                   effect=catalogue()[name].EFFECT)


def judged(record, *findings, passed=("mask-missing", "leakage"), not_checked=(), reason=""):
    return concluded(record, Judgement(list(findings), list(passed), list(not_checked), reason))


def verdict(record, *findings, **checked):
    return judged(record, *findings, **checked).verdict


def screen(record, folder, *findings, **checked):
    return report.screen(record, judged(record, *findings, **checked), folder)


def written(record, folder, *findings, **checked):
    """The report's folder, with everything in it."""
    report.write(record, judged(record, *findings, **checked), folder)
    return folder


# the verdict


def test_the_verdict_names_cause_and_place_of_the_first_finding():
    second = finding("class-imbalance", "warning", "the largest class outweighs the smallest", where=None)
    said = verdict(per_epoch_run(), finding(), second)
    assert said == "does not learn: the learning rate is 0 at every step (schedule-per-epoch, train.py:142)"


@pytest.mark.parametrize("run, name, level, words", [
    (per_epoch_run, "schedule-per-epoch", "error", "does not learn: "),
    (per_epoch_run, "leakage", "error", "does not learn, and its figures mislead: "),
    (learning_run, "schedule-per-epoch", "warning", "learns less than it could: "),
    (learning_run, "leakage", "error", "learns, but its figures mislead: "),
    (learning_run, "eval-train-mode", "warning", "learns, but its figures mislead: "),
])
def test_the_verdict_begins_with_the_outcome_and_says_how_bad_it_is(run, name, level, words):
    assert verdict(run(), finding(name, level)).startswith(words)


def test_a_healthy_run_is_said_to_learn_with_the_number_of_checks(tmp_path):
    unmade = [("half-weights", "no step was seen")]
    assert verdict(learning_run(), not_checked=unmade) == \
        "learns: nothing found that stops this run from learning: 2 checks passed, 1 not made"
    report_json = written(learning_run(), tmp_path, not_checked=unmade) / "report.json"
    assert json.loads(report_json.read_text())["outcome"] == "learns"


def test_a_run_that_does_not_learn_for_no_cause_found_is_said_to_be_just_that():
    assert verdict(per_epoch_run()) == "does not learn, and no cause was found: 2 checks passed, 0 not made"


def test_a_note_is_no_fault_in_the_verdict():
    said = verdict(learning_run(), finding("double-softmax", "note"))
    assert said.startswith("learns: nothing found") and said.endswith("1 note")


def test_a_crash_after_some_steps_and_a_cut_observation_are_said():
    record = per_epoch_run()
    record.ended, record.crash = "crashed", Crash("KeyError", "'text'", "Traceback ...", Site("train.py", 9))
    assert verdict(record).endswith("the script itself crashed after 40 optimizer steps: KeyError: 'text' (train.py:9)")
    record.ended = "time limit"
    assert "40 optimizer steps" in verdict(record).partition(";")[2]


def run_with(**control):
    record = per_epoch_run()
    record.controls = [Control("labels-from-tokens", "?", True), Control("rate-sweep", "?", **control)]
    return record


def test_the_verdict_says_what_there_was_no_time_to_measure(tmp_path):
    late = run_with(outcome=None, reason="time: 2 of 6 rates were tried")
    assert verdict(late).endswith("; not measured for want of time: rate-sweep")
    assert "2 of 2 checks made; out of time: rate-sweep" in screen(late, tmp_path)
    assert "want of time" not in verdict(run_with(outcome=None, reason="no rate lowers the loss in so few steps"))


def test_what_the_libraries_warn_of_stands_between_findings_and_checks(tmp_path):
    record = per_epoch_run()
    record.warnings = [Warned("None of the inputs have requires_grad=True. Gradients will be None", Site("a.py", 7))]
    text = " ".join(screen(record, tmp_path, finding()).split())
    warned = text.index("None of the inputs have requires_grad=True. Gradients will be None (a.py:7)")
    assert text.index("error[schedule-per-epoch]") < warned < text.index("checked and passed")


def test_gradient_norms_are_those_before_clipping():
    record = per_epoch_run()
    for step in record.steps:
        step.gradient_norm, step.clip = 1.0, Clip("norm", 1.0, 12.5, False)
    shown = dict(map(tuple, tables.one_step(record).rows))["gradient"]
    assert shown == "norm 12.5 at the first step, 12.5 at the last, before clipping to 1"
    assert "as clipping left it" in tables.gradient_flow(record).notes[0]


# the screen


def test_the_screen_has_its_parts_in_order(tmp_path):
    text = screen(per_epoch_run(), tmp_path, finding(), not_checked=[("half-weights", "why not")])
    marks = ["does not learn", "error[schedule-per-epoch]", "checked and passed: 2 of 3", "not checked: 1", "controls",
             "gradient by layer", "one forward and backward pass", "how the data is encoded", "learning-rate schedule",
             "report.md"]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)


def test_a_finding_has_five_parts():
    lines = report.finding_lines(finding(), [], 110)
    assert lines == ["error[schedule-per-epoch]: the learning rate is 0 at every step",
                     "  --> train.py:142  scheduler.step()",
                     "  measured: optimizer steps seen 40; rates 0 at all 40; base lr 2e-05",
                     "  why:  it would warm up until epoch 300",
                     "  help: move line 142 into the batch loop"]


def test_a_consequence_is_one_line_under_its_cause_and_stays_in_the_json(tmp_path):
    consequence = finding("lr-zero", title="no weight ever changes")
    if "schedule-per-epoch" not in catalogue()["lr-zero"].CAUSED_BY:
        pytest.fail("lr-zero no longer follows from schedule-per-epoch: choose another pair here")
    text = screen(per_epoch_run(), tmp_path, finding(), consequence)
    assert "error[lr-zero]: " not in text
    assert [line for line in text.splitlines() if "lr-zero" in line] == \
        ["  so also: no weight ever changes (error[lr-zero])"]
    told = strict((written(per_epoch_run(), tmp_path, finding(), consequence) / "report.json").read_text())
    assert [fault["name"] for fault in told["findings"]] == ["schedule-per-epoch", "lr-zero"]


def test_a_consequence_without_its_cause_stands_for_itself():
    listed = under_their_causes([finding("lr-zero"), finding("double-softmax", "note")])
    assert [(first.name, folded) for first, folded in listed] == [("lr-zero", []), ("double-softmax", [])]


@pytest.mark.parametrize("columns", [80, 110])
def test_no_line_of_the_screen_is_wider_than_the_terminal(monkeypatch, tmp_path, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    long = finding(evidence={"rates": list(range(400)), "a text": "word " * 60})
    text = screen(per_epoch_run(), tmp_path, long, not_checked=[("half-weights", "for this reason " * 10)])
    widest = max(text.replace(str(tmp_path), "").splitlines(), key=len)
    assert len(widest) <= columns, widest


def test_what_was_not_measured_does_not_break_the_screen(tmp_path):
    text = screen(Record(target="train.py"), tmp_path)
    assert "nothing found" in text and "None" not in text and "nan" not in text


def test_a_crash_shows_the_scripts_own_traceback(tmp_path):
    crash = Crash("KeyError", "'text'", "Traceback ...\nKeyError: 'text'")
    record = Record(target="train.py", ended="crashed", crash=crash)
    text = screen(record, tmp_path, passed=(), reason="the script crashed before its first training step")
    assert text.startswith("could not be examined: the script crashed before its first training step")
    assert "  KeyError: 'text'" in text


def test_where_nothing_was_trained_the_last_words_of_the_script_are_shown(tmp_path):
    (tmp_path / "script.log").write_text("usage: train.py DATA\n")
    text = screen(Record(ended="script ended"), tmp_path, passed=(), reason="the script ended")
    assert "usage: train.py DATA" in text


# the tables


def row(table, name):
    return next(cells for cells in table.rows if cells[0].strip() == name)


def test_the_gradient_of_a_part_is_the_norm_over_its_parameters():
    first = Parameter("a", "layer 0", [2], "float32", True, 0, norm_first=3.0, change=0.3)
    second = Parameter("b", "layer 0", [2, 2], "float32", True, 0, norm_first=4.0, change=0.4)
    first.gradient_norms, second.gradient_norms = [3.0, 6.0, 30.0], [4.0, 8.0, 40.0]
    record = Record(parameters=[first, second, Parameter("c", "head", [5], "float32", False)])
    table = tables.gradient_flow(record)
    assert row(table, "layer 0") == ["layer 0", "6", "6", "5", "10", "50", "0.1"]
    assert row(table, "head")[:3] == ["head", "5", "frozen"]
    assert row(table, "all")[:3] == ["all", "11", "6"]


def test_frozen_neighbours_share_a_row_and_their_weights_are_added_up():
    table = tables.gradient_flow(per_epoch_run())
    merged = row(table, "embeddings to layer 8")
    assert merged[1] == f"{30522 * 768 + 18 * 768 * 768:,}" and merged[2] == "frozen"
    assert [cells[0] for cells in table.rows][1:] == ["layer 9", "layer 10", "layer 11", "pooler", "head", "all"]


def test_the_first_loss_stands_beside_the_loss_of_guessing_by_class_frequency():
    shares = [0.25, 0.375, 0.25, 0.125]
    guessing = -sum(share * math.log(share) for share in shares)
    assert row(tables.one_step(per_epoch_run()), "first loss")[1] == \
        f"1.39; guessing by class frequency costs {guessing:.4g}"


def test_truncation_and_unknown_tokens_are_counted():
    table = tables.encoding(per_epoch_run())
    assert row(table, "truncated")[1].startswith("20.0% of 5 sampled texts at 128 tokens")
    assert row(table, "unknown")[1].startswith("0.3% of the tokens")
    assert "1: 120 (37.5%)" in row(table, "labels")[1] and "320 rows looked at" in row(table, "labels")[1]


def test_many_groups_of_one_kind_share_a_row():
    record = Record(groups=[Group("AdamW", 0.0, 1e-5 * (i + 1), decay, 2, 10)
                            for i in range(13) for decay in (0.0, 0.01)])
    assert [cells[:3] for cells in tables.optimizer(record).rows] == \
        [["AdamW (13 groups)", "1e-05 to 0.00013", "0"], ["AdamW (13 groups)", "1e-05 to 0.00013", "0.01"]]


def test_trainable_weights_outside_every_optimizer_are_told():
    record = per_epoch_run()
    record.parameters[-1].group = None
    assert "3,072 trainable weights are in no optimizer" in tables.optimizer(record).notes


@pytest.mark.parametrize("outcomes, words", [
    ({"labels-from-tokens": False, "model-overfits": True}, "look at the data"),
    ({"labels-from-tokens": True, "model-overfits": False}, "look at the model"),
    ({"labels-from-tokens": False, "labels-from-features": True, "model-overfits": True, "own-optimizer": False},
     "look at the optimization"),
    ({"labels-from-tokens": True, "model-overfits": True, "own-optimizer": True}, "each can learn"),
    ({"model-overfits": True}, "too little was measured"),
])
def test_the_controls_together_say_on_which_side_the_fault_is(outcomes, words):
    record = Record(controls=[Control(name, "?", outcome) for name, outcome in outcomes.items()])
    assert words in conclusion.side(record)


@pytest.mark.parametrize("value, text", [
    (5e-05, "5e-05"), (0.0, "0"), (1234567, "1,234,567"), (True, "yes"), (None, "-"), (float("nan"), "nan"),
    ([0.0] * 40, "0 at all 40"), ([1, 2], "1, 2"), (list(range(10)), "0, 1, 2, 3, 4, ..., 9, (10 in all)"),
    ({"class_0": 3}, "class 0 3"), ([], "none"), ([[1, 2], [3, 4]], "(1, 2), (3, 4)"),
])
def test_measured_values_are_readable(value, text):
    assert tables.readable(value) == text


# report.json and report.md


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")
    return json.loads(text, parse_constant=refuse)


def test_report_json_is_the_contracts(tmp_path):
    written(per_epoch_run(), tmp_path, finding(), not_checked=[("half-weights", "why not")])
    told = strict((tmp_path / "report.json").read_text())
    assert list(told) == ["version", "target", "verdict", "outcome", "learnable", "findings", "scores", "passed", "not_checked",
                          "seconds", "device"]
    assert told["version"] == 1 and told["target"] == "train.py" and told["learnable"] is True
    assert told["seconds"] == 41.2 and told["device"] == "cpu"
    assert told["passed"] == ["mask-missing", "leakage"]
    assert told["not_checked"] == [{"name": "half-weights", "reason": "why not"}]
    assert list(told["findings"][0]) == ["name", "level", "title", "evidence", "why", "fix", "where", "cure",
                                         "cure_reason"]
    assert told["findings"][0]["where"] == {"file": "train.py", "line": 142}
    assert told["findings"][0]["evidence"]["rates"] == [0.0] * 40


def test_numbers_that_json_cannot_hold_become_texts_and_those_of_numpy_plain(tmp_path):
    evidence = {"loss": float("nan"), "norms": (1.0, float("inf")), "share": numpy.float32(0.5), "n": numpy.int64(3),
                "row": numpy.array([1, 2]), 4: None, "set": {7}, "file": tmp_path}
    written(per_epoch_run(), tmp_path, finding(evidence=evidence, where=None))
    [told] = strict((tmp_path / "report.json").read_text())["findings"]
    assert told["where"] is None
    assert told["evidence"] == {"loss": "nan", "norms": [1.0, "inf"], "share": 0.5, "n": 3, "row": [1, 2], "4": None,
                                "set": [7], "file": str(tmp_path)}


def test_report_md_holds_the_findings_all_evidence_every_table_and_both_pictures(tmp_path):
    evidence = {"rates": [i / 64 for i in range(40)]}
    written(per_epoch_run(), tmp_path, finding(evidence=evidence))
    text = (tmp_path / "report.md").read_text()
    assert "(gradient_flow.png)" in text and "(learning_rate.png)" in text
    assert all(tables.number(i / 64) in text for i in range(40))
    for table in tables.figures(per_epoch_run()):
        assert f"### {table.title}" in text
    assert text.count("I love this game") == 3 and "game \\| number" in text


def test_report_md_tables_have_as_many_cells_in_every_row(tmp_path):
    written(per_epoch_run(), tmp_path, finding())
    tables_found = [[]]
    for line in (tmp_path / "report.md").read_text().replace("\\|", "").splitlines():
        tables_found[-1].append(line.count("|")) if line.startswith("|") else tables_found.append([])
    assert all(len(set(counts)) <= 1 for counts in tables_found) and sum(map(len, tables_found)) > 30


def test_an_examination_that_could_not_be_done_leaves_no_pictures_of_the_one_before(tmp_path):
    written(per_epoch_run(), tmp_path, finding())
    written(Record(target="train.py", ended="script ended"), tmp_path, passed=(), reason="it does no training")
    assert not list(tmp_path.glob("*.png"))
    assert strict((tmp_path / "report.json").read_text())["verdict"] == "could not be examined: it does no training"


# the pictures


def colours(path):
    return {colour for _, colour in Image.open(path).convert("RGB").getcolors(1 << 24)}


def near(path, hexed):
    wanted = [int(hexed[i:i + 2], 16) for i in (1, 3, 5)]
    return any(max(abs(a - b) for a, b in zip(colour, wanted)) < 8 for colour in colours(path))


def test_both_pictures_are_drawn_even_where_nothing_was_seen(tmp_path):
    written(Record(), tmp_path)
    for name in ("gradient_flow.png", "learning_rate.png"):
        assert min(Image.open(tmp_path / name).size) > 400


def test_the_gradient_picture_marks_trainable_parts_without_gradient_apart_from_frozen_ones(tmp_path):
    record = per_epoch_run()
    pictures.gradient_flow(record, tmp_path / "frozen.png")
    for parameter in record.parameters:
        parameter.trainable = True
    pictures.gradient_flow(record, tmp_path / "blocked.png")
    frozen, blocked = "#E5E5E5", "#F2CFBF"      # grey and red over white
    assert near(tmp_path / "frozen.png", frozen) and not near(tmp_path / "frozen.png", blocked)
    assert near(tmp_path / "blocked.png", blocked)


def test_the_rate_is_drawn_as_meant_and_as_stepped_where_they_differ():
    record = per_epoch_run()
    [(base, meant)], [(_, stepped)] = pictures.as_meant(record, 1500), pictures.as_stepped(record, 1500)
    assert base == 2e-5 and max(meant) == pytest.approx(2e-5) and meant[150] == pytest.approx(1e-5)
    assert set(stepped[:300]) == {0.0}
    assert stepped[1499] == pytest.approx(2e-5 * 4 / 300)


def test_the_rate_is_the_same_where_the_schedule_moves_with_every_optimizer_step():
    record = per_epoch_run()
    record.schedules[0].calls_at = list(range(1, 41))
    assert pictures.as_meant(record, 1500) == pictures.as_stepped(record, 1500)


def test_a_schedule_meant_for_epochs_is_drawn_by_epochs_alone():
    record = per_epoch_run()
    record.schedules = [Schedule("StepLR", "StepLR", {"step_size": 1}, factors=[1.0, 0.5, 0.25, 0.125, 0.0625],
                                 base_rates=[1e-3], call_in_batch_loop=False, call_site=Site("train.py", 9))]
    assert pictures.as_meant(record, 1500) == []
    [(_, rates)] = pictures.as_stepped(record, 1500)
    assert rates[299] == 1e-3 and rates[300] == 5e-4 and rates[1499] == 6.25e-5


def test_without_a_schedule_the_rate_stays_as_it_was_seen():
    record = per_epoch_run()
    record.schedules = []
    record.steps = [Step(i, [1e-5, 1e-3]) for i in range(10)]
    assert pictures.as_stepped(record, 20) == [(1e-5, [1e-5] * 20), (1e-3, [1e-3] * 20)]


def test_what_causes_the_error_that_ends_the_run_stands_before_it():
    record = per_epoch_run()
    record.steps, record.optimizer_steps, record.ended = [], 0, "crashed"
    detached = finding("loss-detached", "error", evidence={"message": "does not require grad"})
    frozen, eval_mode = finding("head-frozen", "error"), finding("eval-mode", "warning")
    assert [leads_to_crash(record, each, [eval_mode, frozen, detached]) for each in (detached, frozen, eval_mode)] \
        == [True, True, False]
    assert verdict(record, frozen, detached).startswith("crashes before it learns anything: ")


def test_below_errors_what_a_line_does_stands_before_what_the_data_are():
    names = ["text-truncated", "class-imbalance", "eval-mode"]
    found = in_order_of_cause([finding(name, "warning") for name in names], catalogue())
    assert found[0].name == "eval-mode"
