"""What the checks of the data say of records written by hand: each fault, its near misses, the healthy."""

import copy
import csv
import gzip
import random

import pytest
from healthy_records import (CLS, LINE, OURS, SEP, check, crashed, every_batch, found, healthy, no_signal, not_measured,
                             passes, relabelled, rows_of, signal, split_of, training_batch, with_labels)

from diagnosis.faults import catalogue
from diagnosis.record.record import Batch, Control, Record, Split
from diagnosis.verdict.finding import Finding
from diagnosis.verdict.judge import judge


# all checks at once


@pytest.mark.parametrize("name", OURS)
def test_a_healthy_run_passes_every_check(name):
    record = healthy()
    record.steps[-1].epoch = int(name == "model-remade")        # only the second epoch shows it
    passes(name, record)


@pytest.mark.parametrize("name", OURS)
def test_an_empty_record_is_never_called_passed_nor_faulty(name):
    not_measured(name, Record())


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("missing", ["training", "validation", "tokenizer", "encoder", "batches", "parameters",
                                     "modules", "controls", "freezes", "steps"])
def test_a_fact_that_is_missing_stops_no_check_and_raises_no_alarm(name, missing):
    record = healthy()
    setattr(record, missing, getattr(Record(), missing))
    assert not isinstance(check(name, record), Finding)


@pytest.mark.parametrize("name", OURS)
def test_batches_of_which_only_the_rows_are_known_stop_no_check(name):
    record = healthy()
    record.batches = [Batch("training", step, 16) for step in range(20)]
    assert not isinstance(check(name, record), Finding)


def test_no_two_faults_are_said_to_cause_each_other():
    faults = catalogue()
    for name, fault in faults.items():
        for cause in fault.CAUSED_BY:
            assert cause in faults and name not in faults[cause].CAUSED_BY, (name, cause)


# label-out-of-range


def test_labels_numbered_from_one_are_out_of_range_and_the_head_is_not_blamed():
    record = crashed(relabelled(healthy(), {0: 4}), "IndexError", "Target 4 is out of bounds.")
    finding = found("label-out-of-range", record, "error")
    assert finding.evidence["outside"] == [4] and finding.evidence["outputs"] == 4 and finding.where == LINE
    passes("head-mismatch", record)


def test_a_label_of_minus_one_is_out_of_range():
    record = crashed(relabelled(healthy(), {0: -1}), "IndexError", "Target -1 is out of bounds.")
    assert found("label-out-of-range", record, "error").evidence["outside"] == [-1]


def test_the_crash_tells_enough_where_the_loss_function_is_the_scripts_own():
    record = every_batch(relabelled(healthy(), {3: 4}), loss_function=None)
    found("label-out-of-range", crashed(record, "IndexError", "index 4 is out of bounds for dimension 1 with size 4"),
          "error")


def test_rows_that_the_loss_leaves_out_are_counted():
    record = every_batch(relabelled(healthy(), {2: -100}), ignored=4)
    finding = found("label-out-of-range", record, "error")
    assert finding.evidence["ignored_share"] == 0.25
    record = every_batch(healthy(), ignored=0)
    record.batches[3].ignored = 5
    assert found("label-out-of-range", record, "warning").evidence["ignored_rows"] == 5


def test_labels_of_one_and_two_under_a_binary_loss_are_out_of_range_and_those_of_nought_and_one_are_not():
    record = with_labels([1 + index % 2 for index in range(700)])
    every_batch(record, loss_function="binary_cross_entropy_with_logits", outputs=1)
    assert found("label-out-of-range", record, "error").evidence["outside"] == [2]
    passes("head-mismatch", record)
    record = every_batch(relabelled(record, {2: 0}), loss_function="binary_cross_entropy_with_logits", outputs=1)
    passes("label-out-of-range", record)
    passes("head-mismatch", record)


def test_stars_from_one_to_five_are_no_fault_of_a_regression():
    record = every_batch(relabelled(healthy(), {0: 5}), loss_function="mse_loss", outputs=1)
    passes("label-out-of-range", record)
    passes("head-mismatch", record)


def test_several_labels_per_row_with_a_binary_loss_are_healthy():
    record = every_batch(healthy(), loss_function="binary_cross_entropy_with_logits", outputs=6)
    passes("label-out-of-range", record)
    passes("head-mismatch", record)


# label-mismatch


def test_validation_ids_in_another_order_are_found_by_a_linear_model():
    record = healthy()
    record.validation.labels = [{0: 2, 2: 0}.get(label, label) for label in record.validation.labels]
    finding = found("label-mismatch", record, "error")
    assert finding.evidence["validation_id_to_training_id"] == {"0": 2, "2": 0}
    assert finding.evidence["agree_as_given"] < finding.evidence["agree_after_exchange"]


def test_all_validation_ids_shifted_by_one_are_found():
    record = healthy()
    record.validation.labels = [label + 1 for label in record.validation.labels]
    assert found("label-mismatch", record, "error").evidence["validation_id_to_training_id"] == {
        "1": 0, "2": 1, "3": 2, "4": 3}


def test_two_exchanged_classes_of_two_are_found():
    record = healthy()
    rows, labels = rows_of(900, classes=2)
    record.training = split_of(rows[:700], labels[:700])
    record.validation = split_of(rows[700:], [1 - label for label in labels[700:]])
    assert found("label-mismatch", record, "error").evidence["kappa_as_given"] < 0


def test_texts_in_both_sets_show_exchanged_ids_where_a_linear_model_cannot():
    record = healthy()
    record.training.labels = random.Random(3).choices(range(4), k=700)
    record.validation = split_of(record.training.examples[:60],
                                 [(label + 1) % 4 for label in record.training.labels[:60]])
    assert "both sets" in found("label-mismatch", record, "error").evidence["witness"]


def test_labels_without_signal_and_a_class_without_validation_rows_are_no_mismatch():
    record = healthy()
    random.Random(3).shuffle(record.training.labels)
    passes("label-mismatch", record)
    record = healthy()
    kept = [index for index, label in enumerate(record.validation.labels) if label != 1]
    record.validation.examples = [record.validation.examples[index] for index in kept]
    record.validation.labels = [record.validation.labels[index] for index in kept]
    passes("label-mismatch", record)


def test_a_sorted_file_cut_in_two_is_no_mismatch():
    rows, labels = rows_of(900)
    order = sorted(range(900), key=labels.__getitem__)
    record = healthy()
    record.training = split_of([rows[index] for index in order[:700]], [labels[index] for index in order[:700]])
    record.validation = split_of([rows[index] for index in order[700:]], [labels[index] for index in order[700:]])
    passes("label-mismatch", record)


def test_few_rows_or_unknown_labels_cannot_show_a_mismatch():
    record = healthy()
    record.validation = split_of(*rows_of(30, seed=1))
    not_measured("label-mismatch", record)
    record.validation = split_of(rows_of(200, seed=1)[0], [])
    not_measured("label-mismatch", record)


# labels-random


def test_labels_that_no_control_can_predict_are_random():
    record = healthy()
    record.controls = [no_signal("labels-from-tokens"), no_signal("labels-from-features", accuracy=0.25)]
    finding = found("labels-random", record, "error")
    assert finding.evidence["from_tokens_accuracy"] == 0.262 and finding.evidence["from_features_accuracy"] == 0.25
    assert finding.evidence["from_tokens_permuted_accuracy"] == 0.26


def test_a_signal_in_one_control_or_a_weak_one_is_a_signal():
    record = healthy()
    record.controls = [no_signal("labels-from-tokens"), signal("labels-from-features")]
    passes("labels-random", record)
    record.controls = [no_signal("labels-from-tokens", accuracy=0.28, p_value=0.005)]
    passes("labels-random", record)


def test_too_few_rows_or_no_control_leave_it_open():
    record = healthy()
    record.controls = [no_signal("labels-from-tokens", rows=300)]
    not_measured("labels-random", record)
    record.controls = [Control("labels-from-tokens", "?", None, reason="time")]
    assert check("labels-random", record).reason == "time"


def test_a_model_that_beats_the_largest_class_on_new_rows_shows_that_linear_controls_were_too_weak():
    record = healthy()
    record.controls = [no_signal("labels-from-tokens")]
    labels = record.training.labels
    record.batches = [training_batch(step, labels[16 * step:16 * step + 16]) for step in range(40)]
    for batch in record.batches:
        batch.logits = [[float(column == label) for column in range(4)] for label in batch.labels]
    passes("labels-random", record)


def test_labels_are_not_blamed_where_no_text_is_left():
    record = healthy()
    record.controls = [no_signal("labels-from-tokens")]
    record.tokenizer.full_lengths, record.tokenizer.kept_lengths = [30] * 40, [4] * 40
    not_measured("labels-random", record)


# labels-single-class, class-imbalance


def test_labels_that_are_nearly_all_one_class_are_told():
    finding = found("labels-single-class", with_labels([0] * 690 + [1] * 10), "error")
    assert finding.evidence["share"] == pytest.approx(0.986, abs=0.001) and finding.evidence["class"] == 0
    not_measured("class-imbalance", with_labels([0] * 690 + [1] * 10))


def test_the_first_batches_of_a_sorted_file_do_not_make_a_single_class():
    record = with_labels([0] * 700)
    record.training = Split(labels=[0] * 320, order_labels=[0] * 320, shuffled=False)
    not_measured("labels-single-class", record)


def test_labels_that_came_in_mixed_order_stand_for_all_rows_without_a_loader():
    labels = [0] * 320
    for place in (31, 98, 200, 253, 285):
        labels[place] = 1
    record = with_labels([0] * 700)
    record.training = Split(labels=labels, order_labels=labels)
    found("labels-single-class", record, "error")
    record.training = Split(labels=sorted(labels), order_labels=sorted(labels))
    not_measured("labels-single-class", record)


def test_rare_classes_that_the_loss_or_the_sampler_weights_are_no_fault():
    labels = random.Random(0).choices([0, 1], [98, 2], k=700)
    passes("labels-single-class", every_batch(with_labels(labels), class_weights=[1.0, 9.0]))
    passes("class-imbalance", every_batch(with_labels(labels), class_weights=[1.0, 9.0]))
    passes("labels-single-class", with_labels(labels, sampler="WeightedRandomSampler"))


def test_an_evenly_drawing_sampler_of_the_scripts_own_is_seen_in_the_batches():
    record = with_labels([0] * 630 + [1] * 70, sampler="EvenSampler", shuffled=None)
    record.training.order_labels = [0, 1] * 160
    passes("class-imbalance", record)


def test_a_gross_imbalance_is_a_warning():
    finding = found("class-imbalance", with_labels(random.Random(0).choices([0, 1], [90, 10], k=700)), "warning")
    assert 0.86 < finding.evidence["largest_share"] < 0.94
    found("class-imbalance", with_labels(random.Random(0).choices(range(4), [76, 16, 4, 4], k=700)), "warning")


@pytest.mark.parametrize("shares", [[17, 30, 25, 28], [80, 20], [60, 20, 10, 10], [63, 21, 16], [34, 29, 14, 12, 8, 3]])
def test_ordinary_differences_between_classes_are_healthy(shares):
    record = with_labels(random.Random(0).choices(range(len(shares)), shares, k=700))
    passes("class-imbalance", record)
    passes("labels-single-class", record)


def test_imbalance_with_a_good_macro_f1_is_healthy():
    record = with_labels(random.Random(0).choices([0, 1], [90, 10], k=700))
    labels = [0] * 180 + [1] * 20
    record.batches.append(Batch("validation", 20, 200, labels=labels,
                                logits=[[0.0, 1.0] if label else [1.0, 0.0] for label in labels]))
    passes("class-imbalance", record)


# label-conflict


def test_copies_with_contradicting_labels_are_counted():
    record = healthy()
    rows, labels = rows_of(350)
    record.training = split_of(rows + rows, labels + [(label + 1) % 4 for label in labels])
    finding = found("label-conflict", record, "error")
    assert finding.evidence["rows_with_another_label"] == 700 and finding.evidence["best_possible_accuracy"] == 0.5
    record.controls = [no_signal("labels-from-tokens")]
    not_measured("labels-random", record)       # the contradiction is the cause


def test_a_few_contradictions_are_a_warning_and_fewer_are_how_people_label():
    rows, labels = rows_of(700)
    for copies, level in ((70, "warning"), (6, None)):
        record = healthy()
        record.training = split_of(rows + rows[:copies], labels + [(label + 1) % 4 for label in labels[:copies]])
        found("label-conflict", record, level) if level else passes("label-conflict", record)


def test_copies_that_agree_and_a_small_set_of_texts_with_some_noise_are_no_conflict():
    record = healthy()
    rows, labels = rows_of(100)
    record.training = split_of(rows * 7, labels * 7)
    passes("label-conflict", record)
    record.training.labels[3] = (record.training.labels[3] + 1) % 4
    passes("label-conflict", record)


def test_shuffled_labels_of_repeated_texts_are_random_rather_than_in_conflict():
    rows, labels = rows_of(100)
    record = healthy()
    record.training = split_of(rows * 7, random.Random(0).choices(range(4), k=700))
    record.controls = [no_signal("labels-from-tokens")]
    record.batches = []
    assert [finding.name for finding in judge(record).findings][:2] == ["labels-random", "label-conflict"]


def test_a_small_sample_cannot_rule_conflicts_out():
    record = healthy()
    record.training.complete, record.training.rows = False, 70_000
    not_measured("label-conflict", record)


# text-constant, text-unknown, text-truncated


def test_one_text_for_all_rows_is_constant():
    record = every_batch(healthy(), distinct_rows=1)
    assert found("text-constant", record, "error").evidence["different_inputs_per_batch"] == 1
    record = healthy()
    record.training.examples = [[CLS, 1000, SEP]] * 700
    assert found("text-constant", record, "error").evidence["different_inputs"] == 1


def test_empty_rows_are_counted_and_one_in_a_hundred_is_healthy():
    for empty, level in ((500, "error"), (70, "warning"), (7, None)):
        record = healthy()
        record.training.examples[:empty] = [[CLS, SEP]] * empty
        if level:
            assert found("text-constant", record, level).evidence["empty_rows"] == empty
        else:
            passes("text-constant", record)


def test_a_toy_set_of_two_texts_repeated_with_its_labels_is_not_constant():
    record = with_labels([index % 2 for index in range(700)])
    record.training.examples = [[CLS, 1000 + index % 2, SEP] for index in range(700)]
    for batch in record.batches:
        batch.distinct_rows = 2
    passes("text-constant", record)


def test_equal_rows_in_the_batches_of_a_sorted_toy_set_are_not_constant():
    record = every_batch(with_labels(sorted(index % 2 for index in range(700))), distinct_rows=1)
    record.training.examples = [[CLS, 1000 + label, SEP] for label in record.training.labels]
    passes("text-constant", record)


def test_much_unknown_is_told_and_a_few_emojis_are_not():
    for share, level in ((0.6, "error"), (0.15, "warning"), (0.03, None)):
        record = every_batch(healthy(), unknown=round(160 * share))
        if level:
            evidence = found("text-unknown", record, level).evidence
            assert evidence["unknown_share"] == pytest.approx(share, abs=0.01)
        else:
            passes("text-unknown", record)


def test_a_tokenizer_whose_unknown_token_is_its_end_knows_every_word():
    record = every_batch(healthy(), unknown=100)
    record.tokenizer.unknown_id = record.tokenizer.pad_id = SEP
    passes("text-unknown", record)


def truncated(full, kept):
    record = healthy()
    record.tokenizer.full_lengths, record.tokenizer.kept_lengths = full, [min(length, kept) for length in full]
    record.training.examples = []
    return record


def test_truncation_is_judged_by_what_is_lost_and_what_is_left():
    tweets = [12, 18, 24, 30, 45, 72] * 10
    assert found("text-truncated", truncated(tweets, 4), "error").evidence["longest_kept"] == 4
    found("text-truncated", truncated(tweets, 16), "warning")
    passes("text-truncated", truncated(tweets, 48))
    found("text-truncated", truncated([300, 500, 900] * 10, 128), "note")
    passes("text-truncated", truncated([6, 8, 10] * 10, 10))


def test_ids_that_the_script_cuts_itself_are_seen_where_they_reach_the_encoder():
    record = truncated([40] * 60, 64)
    record.training.examples = [row[:6] for row in rows_of(700)[0]]
    found("text-truncated", record, "error")


def test_truncation_is_an_error_where_the_labels_cannot_be_predicted_from_what_it_leaves():
    record = truncated([76] * 60, 24)
    found("text-truncated", record, "warning")
    record.controls = [no_signal("labels-from-tokens")]
    found("text-truncated", record, "error")


def test_truncation_stands_before_the_equal_texts_that_it_makes():
    record = truncated([40] * 60, 3)
    record.training.examples = [[CLS, 1000 + label % 2, SEP] for label in record.training.labels]
    record.controls = [no_signal("labels-from-tokens")]
    names = [finding.name for finding in judge(record).findings]
    assert names[0] == "text-truncated" and not {"text-constant", "label-conflict", "labels-random"} & set(names)


def test_too_few_texts_seen_by_a_tokenizer_leave_truncation_open():
    record = healthy()
    record.tokenizer.full_lengths = record.tokenizer.kept_lengths = [30, 30]
    not_measured("text-truncated", record)


# leakage


def test_validation_rows_that_were_trained_on_are_a_leak():
    record = healthy()
    record.validation.examples[:60] = record.training.examples[:60]
    finding = found("leakage", record, "error")
    assert finding.evidence["exact_copies"] == 60 and finding.evidence["exact_share"] == 0.3


def test_near_copies_are_a_leak_too():
    record = healthy()
    record.validation.examples[:80] = [row[:5] + [1500] + row[5:] for row in record.training.examples[:80]]
    finding = found("leakage", record, "error")
    assert finding.evidence["exact_copies"] == 0 and finding.evidence["copies_or_near_copies"] >= 75


def test_the_training_set_taken_for_validation_is_a_leak_even_if_it_is_full_of_copies():
    record = healthy()
    record.training = split_of(*(part * 7 for part in rows_of(100)))
    record.validation = copy.deepcopy(record.training)
    found("leakage", record, "error")


def test_a_random_split_of_data_full_of_copies_is_a_leak_and_an_ordinary_one_is_healthy():
    rows, labels = rows_of(300)
    rows, labels = rows * 3, labels * 3
    order = random.Random(0).sample(range(900), 900)
    record = healthy()
    record.training = split_of([rows[index] for index in order[:700]], [labels[index] for index in order[:700]])
    record.validation = split_of([rows[index] for index in order[700:]], [labels[index] for index in order[700:]])
    assert "tears apart" in found("leakage", record, "error").why
    record = healthy()
    record.validation.examples[:6] = record.training.examples[:6]
    passes("leakage", record)


def test_short_texts_that_everybody_says_are_a_warning_at_most():
    record, (rows, labels) = healthy(), rows_of(100)
    phrases = [[101, 1100 + number, 1101 + number, 102] for number in range(20)]
    for split, repeats in ((record.training, 10), (record.validation, 4)):
        split.examples = split.examples[:100] + phrases * repeats
        split.labels, split.rows = [number % 4 for number in range(len(split.examples))], len(split.examples)
    found("leakage", record, "warning")


def test_a_leak_into_a_known_sample_is_extrapolated_and_says_so():
    rows, labels = rows_of(7000)
    record = healthy()
    record.training = split_of(rows[:700], labels[:700], complete=False)
    record.training.rows = 7000
    record.validation = split_of(rows[500:900], labels[500:900])        # 200 of 400 in the sample
    evidence = found("leakage", record, "error").evidence
    assert evidence["lower_bound_of_near_share"] == 0.5 and "estimated" in evidence["shares_are"]
    record.validation = split_of(*rows_of(200, seed=9))
    not_measured("leakage", record)     # nothing met, but nine tenths of the training rows are not known


def test_texts_made_equal_by_unknown_tokens_or_by_truncation_are_no_leak():
    record = healthy()
    for split in (record.training, record.validation):
        split.examples = [[101, *[record.tokenizer.unknown_id] * (6 + number % 3), 1000 + number % 5, 102]
                          for number in range(len(split.examples))]
    assert "unknown tokens" in check("leakage", record).reason
    record = healthy()
    for split in (record.training, record.validation):
        split.examples = [[101, 1000 + number % 30, 102] for number in range(len(split.examples))]
    record.tokenizer.full_lengths, record.tokenizer.kept_lengths = [30] * 100, [3] * 100
    assert "text-truncated" in check("leakage", record).reason


def test_two_names_of_one_class_are_two_ids_for_it():
    record = healthy()
    record.class_names = ["Positive", "negative", "neutral", "positive"]
    record.alike_classes = [["positive", "Positive"]]
    record.training.labels = ([0] * 10 + [1] * 30 + [2] * 30 + [3] * 30) * (len(record.training.examples) // 100)
    finding = found("label-mismatch", record, "error")
    assert "positive and Positive" in finding.title and finding.evidence["best_possible_accuracy"] == 0.9


def test_the_leak_of_the_real_data_is_told_even_where_a_fortieth_of_the_training_rows_is_known(real_data):
    training, validation = (real_rows(real_data / f"twitter_{name}") for name in ("training.csv.gz", "validation.csv"))
    record = healthy()
    record.validation = split_of([row for row, _ in validation], [label for _, label in validation])
    known = random.Random(0).sample(training, 2000)
    record.training = split_of([row for row, _ in known], [label for _, label in known], complete=False)
    record.training.rows = len(training)
    assert found("leakage", record, "error").evidence["known_share_of_training"] < 0.03


def test_a_random_split_of_the_real_data_is_full_of_copies_but_not_copied(real_data):
    rows = random.Random(0).sample(real_rows(real_data / "twitter_training.csv.gz"), 20_000)
    record = healthy()
    record.training = split_of([row for row, _ in rows[:2000]], [label for _, label in rows[:2000]], complete=False)
    record.training.rows = 19_000
    record.validation = split_of([row for row, _ in rows[19_000:]], [label for _, label in rows[19_000:]])
    assert "tears apart" in found("leakage", record, "warning").why
    passes("label-mismatch", record)


def real_rows(path):
    """(ids, label) of the real tweets; every word an id of its own."""
    names = ["Irrelevant", "Negative", "Neutral", "Positive"]
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as file:
        return [([CLS, *(200 + int.from_bytes(word.encode()[:12], "big") for word in text.lower().split()), SEP],
                 names.index(label)) for _, _, label, text in csv.reader(file) if text.strip()]


# not-shuffled


def test_a_file_sorted_by_class_is_told_even_where_only_its_first_class_was_seen():
    finding = found("not-shuffled", with_labels(sorted(rows_of(700)[1]), shuffled=False), "error")
    assert finding.evidence["same_label_in_a_batch"] > 0.9 and finding.where == LINE
    record = with_labels(sorted(rows_of(700)[1]), shuffled=False)
    record.training.order_labels = [0] * 160
    found("not-shuffled", record, "error")


def test_a_loader_that_does_not_shuffle_a_file_in_random_order_is_healthy():
    passes("not-shuffled", with_labels(rows_of(700)[1], shuffled=False))
    passes("not-shuffled", with_labels([index % 4 for index in range(700)], shuffled=False))


def test_a_loader_that_shuffles_passes_and_few_labels_leave_it_open():
    passes("not-shuffled", with_labels(sorted(rows_of(700)[1]), shuffled=True))
    record = with_labels(sorted(rows_of(700)[1]), shuffled=False)
    record.training.order_labels = record.training.order_labels[:32]
    not_measured("not-shuffled", record)


def test_batches_of_one_row_are_judged_by_their_neighbours():
    found("not-shuffled", with_labels(sorted(rows_of(700)[1]), shuffled=False, batch_size=1), "error")
    passes("not-shuffled", with_labels(rows_of(700)[1], shuffled=False, batch_size=1))


def test_one_unknown_class_is_not_called_sorted():
    record = with_labels([0] * 700)
    record.training = Split(order_labels=[0] * 320, shuffled=False, batch_size=16)
    not_measured("not-shuffled", record)
