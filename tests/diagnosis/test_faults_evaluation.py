"""What the checks of evaluation say of records written by hand: each fault, its near misses, the healthy."""

import random
from dataclasses import replace

import pytest

from diagnosis.faults import catalogue
from diagnosis.record.record import (UNKNOWN_LABEL, Batch, Control, Evaluated, Record, Repeated, Scored, Site, from_json,
                                     to_json)
from diagnosis.verdict import report, tables
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.judge import judge
from diagnosis.verdict.scored import scores

LINE, LOADER = Site("train.py", 42, "accuracy_score(labels, guesses)"), Site("train.py", 9)
ROWS = 200


def outputs_of(labels, classes=4, right=0.8, seed=0):
    """Logits that name the label in that share of the rows."""
    chance = random.Random(seed)
    rows = []
    for label in labels:
        named = label if chance.random() < right else chance.randrange(classes)
        rows.append([chance.gauss(0, 0.3) + (3 if column == named else 0) for column in range(classes)])
    return rows


def argmax(row):
    return row.index(max(row))


def healthy(classes=4, right=0.8):
    """A record of a run whose one evaluation was scored as it should be."""
    chance = random.Random(1)
    labels = [chance.randrange(classes) for _ in range(ROWS)]
    outputs = outputs_of(labels, classes, right)
    record = Record(optimizer_steps=40, classes=classes)
    record.batches = [Batch("training", step, 8, labels=[step % classes] * 8, outputs=classes,
                            logits=[[0.0] * classes] * 8, loss_function="cross_entropy") for step in range(40)]
    record.evaluations = [Evaluated(40, outputs, labels, "trained", False, True, LOADER, site=LINE)]
    record.scored = [Scored("accuracy_score", 0, 0, [argmax(row) for row in outputs], list(labels), LINE)]
    record.repeated = Repeated(8, 0.0, 1.2, site=LINE)
    return record


def single_output(loss="binary_cross_entropy_with_logits"):
    """The same with one output under a loss for two classes."""
    record = healthy(2)
    evaluation = record.evaluations[0]
    evaluation.outputs = [[row[1] - row[0]] for row in evaluation.outputs]
    for batch in record.batches:
        batch.loss_function, batch.outputs = loss, 1
    record.scored[0].predictions = [int(row[0] > 0) for row in evaluation.outputs]
    return record


def check(name, record):
    return catalogue()[name].check(from_json(to_json(record)))


def found(name, record, level="error"):
    finding = check(name, record)
    assert isinstance(finding, Finding) and finding.level == level, finding
    assert finding.title and not finding.title[0].isupper() and finding.evidence and finding.why and finding.fix
    return finding


def passes(name, record):
    assert check(name, record) is None, check(name, record)


def not_measured(name, record):
    assert isinstance(check(name, record), NotMeasured)


EVALUATION = ("score-misaligned", "predictions-miscomputed", "eval-other-model", "eval-random", "folds-carried-over")


@pytest.mark.parametrize("name", EVALUATION)
def test_a_healthy_evaluation_passes_every_check(name):
    passes(name, healthy())


@pytest.mark.parametrize("name", EVALUATION)
def test_where_no_evaluation_was_seen_nothing_is_passed(name):
    record = healthy()
    record.evaluations, record.scored, record.repeated = [], [], None
    not_measured(name, record)


# score-misaligned


def test_labels_in_another_order_than_the_rows_are_found_at_the_comparison():
    record = healthy()
    random.Random(3).shuffle(record.scored[0].labels)
    finding = found("score-misaligned", record)
    assert finding.where == LINE and finding.evidence["accuracy_row_by_row"] > finding.evidence["accuracy_as_compared"]


def test_predictions_in_another_order_are_found_too_and_named():
    record = healthy()
    random.Random(3).shuffle(record.scored[0].predictions)
    assert "the predictions stand in another" in found("score-misaligned", record).why


def test_predictions_and_labels_that_were_moved_together_are_healthy():
    record = healthy()
    pairs = list(zip(record.scored[0].predictions, record.scored[0].labels))
    random.Random(3).shuffle(pairs)
    record.scored[0].predictions, record.scored[0].labels = map(list, zip(*pairs))
    passes("score-misaligned", record)
    passes("predictions-miscomputed", record)


def test_names_of_classes_are_read_in_their_order():
    record = healthy()
    names = ["angry", "bored", "calm", "dull"]
    record.scored[0].predictions = [names[label] for label in record.scored[0].predictions]
    record.scored[0].labels = [names[label] for label in record.scored[0].labels]
    passes("score-misaligned", record)
    random.Random(3).shuffle(record.scored[0].labels)
    found("score-misaligned", record)


def test_rows_whose_labels_are_not_known_are_not_judged():
    record = healthy()
    record.evaluations[0].labels = [UNKNOWN_LABEL] * ROWS
    random.Random(3).shuffle(record.scored[0].labels)
    not_measured("score-misaligned", record)


def test_a_resampled_comparison_is_not_taken_for_one_in_another_order():
    record, chance = healthy(), random.Random(5)
    drawn = [chance.randrange(ROWS) for _ in range(ROWS)]
    record.scored[0].predictions = [record.scored[0].predictions[row] for row in drawn]
    record.scored[0].labels = [record.scored[0].labels[row] for row in drawn]
    passes("score-misaligned", record)


# predictions-miscomputed


@pytest.mark.parametrize("slip, words", [
    (lambda row: 0, "always the same class"), (lambda row: row.index(min(row)), "smallest"),
    (lambda row: argmax(row[1:]), "leaves out the first"), (max, "largest value"),
    (lambda row: int(row[2] > 0.5), "threshold on output 2")])
def test_a_usual_slip_in_reading_the_class_off_the_outputs_is_named(slip, words):
    record = healthy()
    record.scored[0].predictions = [slip(row) for row in record.evaluations[0].outputs]
    finding = found("predictions-miscomputed", record)
    assert words in finding.title and finding.where == LINE
    assert finding.evidence["accuracy_of_the_class_named"] > finding.evidence["accuracy_as_scored"]


def test_argmax_over_a_single_output_is_named():
    record = single_output("mse_loss")
    record.scored[0].predictions = [0] * ROWS
    assert "always the same class" in found("predictions-miscomputed", record).title
    record.one_column_argmax = Site("train.py", 17, "logits.argmax(-1)")
    assert found("predictions-miscomputed", record).where.line == 17


def test_half_as_the_threshold_of_logits_is_named_and_of_probabilities_is_right():
    record = single_output()
    for row in record.evaluations[0].outputs:
        row[0] /= 6
    record.scored[0].predictions = [int(row[0] > 0.5) for row in record.evaluations[0].outputs]
    assert "threshold of 0.5 on logits" in found("predictions-miscomputed", record).title
    record = single_output("binary_cross_entropy")
    for row in record.evaluations[0].outputs:
        row[0] = 0.5 + row[0] / 10
    record.scored[0].predictions = [int(row[0] > 0.5) for row in record.evaluations[0].outputs]
    passes("predictions-miscomputed", record)


def test_a_threshold_of_its_own_or_an_average_of_models_is_left_alone():
    record = healthy(2)
    record.scored[0].predictions = [int(row[1] - row[0] > -1.3) for row in record.evaluations[0].outputs]
    assert not isinstance(check("predictions-miscomputed", record), Finding)
    record = healthy()
    record.scored[0].predictions = [argmax(row) for row in outputs_of(record.evaluations[0].labels, seed=9)]
    not_measured("predictions-miscomputed", record)


def test_a_search_for_a_threshold_is_left_alone_though_its_ends_name_one_class():
    record = healthy(2)
    outputs, found_best = record.evaluations[0].outputs, record.scored[0]
    record.scored = [replace(found_best, predictions=[int(row[1] - row[0] > threshold) for row in outputs])
                     for threshold in (-100, -1, 1, 100)]
    not_measured("predictions-miscomputed", record)


def test_one_class_for_outputs_that_all_name_the_other_tells_no_slip():
    record = healthy(2)
    for row in record.evaluations[0].outputs:
        row[0] += 10
    record.scored[0].predictions = [1] * ROWS
    not_measured("predictions-miscomputed", record)


def test_several_labels_a_row_are_not_judged():
    record = healthy()
    for batch in record.batches:
        batch.loss_function = "binary_cross_entropy_with_logits"
    record.scored[0].predictions = [0] * ROWS
    not_measured("predictions-miscomputed", record)


def test_a_model_that_itself_names_one_class_is_not_miscomputed():
    record = healthy()
    for row in record.evaluations[0].outputs:
        row[0] += 10
    record.scored[0].predictions = [0] * ROWS
    passes("predictions-miscomputed", record)


# eval-other-model


@pytest.mark.parametrize("weights", ["untrained", "fresh head", "fresh head on an untrained encoder"])
def test_weights_that_were_not_trained_are_found_where_they_are_evaluated(weights):
    record = healthy()
    record.evaluations[0].weights = weights
    assert found("eval-other-model", record).where == LINE


@pytest.mark.parametrize("weights", ["trained", "other"])
def test_an_average_or_an_earlier_state_is_healthy(weights):
    record = healthy()
    record.evaluations[0].weights = weights
    passes("eval-other-model", record)


def test_an_untrained_model_beside_the_trained_one_on_the_same_rows_is_a_comparison():
    record = healthy()
    record.evaluations.append(Evaluated(40, record.evaluations[0].outputs, record.evaluations[0].labels, "untrained",
                                        False, True, LOADER, site=LINE))
    passes("eval-other-model", record)
    record.evaluations[1].loader = Site("train.py", 11)
    found("eval-other-model", record)


def test_a_teacher_on_training_batches_is_no_evaluation():
    record = healthy()
    record.evaluations[0].weights, record.evaluations[0].of_training_rows = "untrained", True
    not_measured("eval-other-model", record)


def test_weights_that_cannot_be_compared_are_not_judged():
    record = healthy()
    record.evaluations[0].weights = None
    not_measured("eval-other-model", record)


# eval-random, folds-carried-over, labels of validation


def test_outputs_that_differ_in_evaluation_are_found_with_the_call_of_dropout():
    record = healthy()
    record.repeated = Repeated(8, 0.9, 1.2, dropout=Site("model.py", 7, "F.dropout(x)"), site=LINE)
    assert found("eval-random", record).where.line == 7
    record.repeated = Repeated(8, 0.05, 1.2, site=LINE)
    assert found("eval-random", record, "warning").where == LINE
    record.repeated = Repeated(8, 1e-5, 1.2, site=LINE)
    passes("eval-random", record)


def test_rows_of_an_earlier_folds_training_are_found_and_those_of_the_present_one_are_leakage():
    record = healthy()
    record.evaluations[0].rows_trained_before, record.evaluations[0].rows_trained_now = 0.75, 0.0
    assert "75 %" in found("folds-carried-over", record).title
    record.evaluations[0].rows_trained_now = 0.75
    passes("folds-carried-over", record)
    record.evaluations[0].rows_trained_before, record.evaluations[0].rows_trained_now = 0.02, 0.0
    passes("folds-carried-over", record)


def test_scored_labels_that_no_output_stands_for_are_out_of_range():
    record = healthy()
    record.scored[0].labels = [-1] * ROWS
    finding = found("label-out-of-range", record)
    assert finding.evidence["set"] == "validation" and finding.where == LINE


def test_labels_of_a_test_set_that_is_only_predicted_and_classes_by_other_numbers_are_healthy():
    record = healthy()
    record.evaluations[0].labels, record.scored = [-1] * ROWS, []
    passes("label-out-of-range", record)
    record = healthy()
    record.scored[0].labels = [label + 1 for label in record.scored[0].labels]
    record.scored[0].predictions = [label + 1 for label in record.scored[0].predictions]
    passes("label-out-of-range", record)
    passes("score-misaligned", record)
    passes("predictions-miscomputed", record)


# the doctor's own score


def test_the_doctors_own_score_stands_beside_the_scripts_on_the_screen_and_in_the_report(tmp_path):
    record = healthy()
    random.Random(3).shuffle(record.scored[0].labels)
    both = scores(record)
    assert both["own"]["accuracy"] > 0.75 and both["script"]["accuracy"] < 0.4 and both["own"]["rows"] == ROWS
    table = tables.own_score(record)
    assert [row[0] for row in table.rows] == ["the doctor's own", "the script's"] and "train.py:42" in table.rows[1][-1]
    judgement = judge(record)
    assert "validation score" in report.screen(record, judgement, tmp_path)
    assert report.as_json(record, judgement)["scores"]["script"]["where"] == {"file": "train.py", "line": 42}


def test_without_an_evaluation_of_trained_weights_there_is_no_score_of_the_doctors_own():
    record = healthy()
    record.evaluations[0].weights = "untrained"
    assert scores(record) is None and tables.own_score(record) is None
    record.evaluations[0].trained_outputs = record.evaluations[0].outputs
    assert scores(record)["own"]["accuracy"] > 0.75


def with_placeholders(drawn):
    """The same, but for a data set whose labels are all 0, as where only texts are predicted."""
    record = healthy()
    record.evaluations[0].labels, record.evaluations[0].drawn = [0] * ROWS, drawn
    return record


def test_a_loader_that_draws_against_labels_that_are_not_its_own_is_misaligned_whatever_the_labels():
    finding = found("score-misaligned", with_placeholders(drawn=True))
    assert "shuffle=False" in finding.fix and finding.where == LINE


def test_placeholders_for_labels_tell_nothing_of_an_ordered_loader_and_make_no_score():
    record = with_placeholders(drawn=False)
    not_measured("score-misaligned", record)
    assert scores(record) is None


def test_outputs_that_differ_in_evaluation_are_told_by_a_control_where_no_evaluation_was_seen():
    record = healthy()
    record.evaluations, record.scored, record.repeated = [], [], None
    record.controls = [Control("rows-apart", "", None, {"rows": 8, "difference": 0.6, "range_of_logits": 2.0})]
    record.functional_dropouts = [Site("model.py", 36)]
    assert found("eval-random", record).where == Site("model.py", 36)
    record.controls = [Control("rows-apart", "", True, {"rows": 8, "largest_change": 0.0, "range_of_logits": 2.0})]
    passes("eval-random", record)
