"""What the checks of data, input and model say of records written by hand: each fault, its near misses, the healthy."""

import dataclasses
import copy
import csv
import gzip
import random

import pytest

from diagnosis.faults import catalogue, majority_class
from diagnosis.record.record import (Batch, Control, Crash, Encoder, FreezeAct, Module, OtherTokenizer, Parameter,
                                     Record, Site, Split, Step, Tokenizer)
from diagnosis.verdict.conclusion import not_examined
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.judge import judge

OURS = [name for name, fault in catalogue().items() if fault.GROUP in ("data", "input", "model")]
CLS, SEP = 101, 102
LINE = Site("train.py", 42, "a line of the script")


# a healthy run, and ways to change it


def rows_of(count, classes=4, seed=0, words=12, signal=2):
    """Token ids and labels of different texts: words of everyday use, and some that tell the class."""
    chance = random.Random(seed)
    labels = [chance.randrange(classes) for _ in range(count)]
    rows = [[CLS, *chance.choices(range(1000, 3000), k=words - signal),
             *chance.choices(range(5000 + 20 * label, 5020 + 20 * label), k=signal), SEP] for label in labels]
    return rows, labels


def split_of(rows, labels, **facts):
    facts = {"complete": True, "shuffled": True, "sampler": "RandomSampler", "made": LINE, "batch_size": 16,
             "rows": len(rows), "batches": -(-len(rows) // 16)} | facts
    return Split(examples=rows, labels=labels, order_labels=labels[:320], **facts)


def training_batch(step, labels, outputs=4, **facts):
    chance = random.Random(step)
    logits = [[chance.gauss(0, 0.3) for _ in range(outputs)] for _ in labels]
    facts = {"width": 20, "real_tokens": 12 * len(labels), "padding": 8 * len(labels), "mask_given": True,
             "padding_shown": 0, "real_hidden": 0, "unknown": len(labels) // 8, "highest_id": 5079,
             "distinct_rows": len(labels), "outputs": outputs, "loss": 1.39 - 0.01 * step + 0.02 * (step % 2),
             "loss_function": "cross_entropy", "last_operation": "linear", "loss_sign": 1, "loss_has_graph": True,
             "encoder_training": True, "head_training": True, "gradient_enabled": True, "site": LINE,
             "drawn": list(range(16 * step, 16 * step + len(labels))), "padded_rows": 10, "read_at_padding": 0} | facts
    return Batch("training", step, len(labels), labels=labels, logits=logits, **facts)


def parameters_of(layers=12):
    weights = [Parameter(f"bert.layer.{number}.{kind}.weight", f"layer {number}", [128, 128], "float32", True, 0,
                         std=0.03 + 0.0017 * number + 0.004 * place, gradient_norms=[0.1, 0.2, 0.1])
               for number in range(layers) for place, kind in enumerate(("query", "output"))]
    return [Parameter("bert.embeddings.word.weight", "embeddings", [30522, 128], "float32", True, 0, std=0.04,
                      gradient_norms=[0.1, 0.1, 0.1]), *weights,
            Parameter("bert.pooler.dense.weight", "pooler", [128, 128], "float32", True, 0, gradient_norms=[None] * 3),
            Parameter("classifier.weight", "head", [4, 128], "float32", True, 0, gradient_norms=[0.5, 0.6, 0.4])]


def healthy():
    rows, labels = rows_of(700)
    record = Record(target="train.py", ended="enough seen", classes=4, optimizer_steps=20, parameters=parameters_of())
    record.training = split_of(rows, labels)
    record.validation = split_of(*rows_of(200, seed=1), shuffled=False, sampler="SequentialSampler")
    record.batches = [training_batch(step, labels[16 * step:16 * step + 16]) for step in range(20)]
    record.steps = [Step(index, rates=[2e-5], loss=record.batches[index].loss, epoch=0) for index in range(20)]
    record.tokenizer = Tokenizer("bert-base-uncased", "BertTokenizer", 30522, 100, 0, CLS, SEP, 64, True,
                                 full_lengths=[14] * 40, kept_lengths=[14] * 40, own_agreement=1.0, site=LINE)
    record.encoder = Encoder("BertModel", "bert-base-uncased", 12, 768, 30522, 0, 512, 0.02, "bert-base-uncased", 0,
                             199, 0.0, 0.0, made=LINE)
    record.modules = [Module("bert.layer.0.dropout", "Dropout", "layer 0", 0.1, True),
                      Module("dropout", "Dropout", "head", 0.5, True), Module("classifier", "Linear", "head")]
    record.controls = [signal("labels-from-tokens"), signal("labels-from-features"),
                       Control("rows-apart", "does a row stay the same?", True),
                       Control("own-optimizer", "can this optimizer learn?", True)]
    return record


def signal(name, outcome=True, **figures):
    figures = {"accuracy": 0.61, "permuted_accuracy": 0.26, "permuted_spread": 0.015, "p_value": 0.01, "rows": 700,
               "majority": 0.3} | figures
    return Control(name, "can the labels be predicted?", outcome, figures)


def no_signal(name, **figures):
    return signal(name, False, **{"accuracy": 0.262, "p_value": 0.42} | figures)


def check(name, record):
    return catalogue()[name].check(copy.deepcopy(record))


def found(name, record, level):
    """The finding, after a look at what every finding must have."""
    finding = check(name, record)
    assert isinstance(finding, Finding), f"{name} says {finding}"
    assert finding.level == level
    assert finding.title and finding.title[0] not in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" and not finding.title.endswith(".")
    assert finding.evidence and finding.why and finding.fix
    return finding


def passes(name, record):
    outcome = check(name, record)
    assert outcome is None, f"{name} says {outcome}"


def not_measured(name, record):
    outcome = check(name, record)
    assert isinstance(outcome, NotMeasured) and outcome.reason, f"{name} says {outcome}"


def every_batch(record, **facts):
    for batch in record.batches:
        for name, value in facts.items():
            setattr(batch, name, value)
    return record


def relabelled(record, table):
    """The same run with its training labels renamed by a table."""
    for labels in (record.training.labels, record.training.order_labels, *(batch.labels for batch in record.batches)):
        labels[:] = [table.get(label, label) for label in labels]
    return record


def with_labels(labels, **facts):
    """The healthy run with other training labels (700 of them)."""
    record = healthy()
    record.training = split_of(record.training.examples, labels, **facts)
    for batch in record.batches:
        batch.labels = labels[16 * batch.step:16 * batch.step + 16]
    return record


def crashed(record, kind, message):
    record.crash = Crash(kind, message, "Traceback ...", LINE)
    record.batches = record.batches[:1]
    record.batches[0].role, record.batches[0].loss = "validation", None     # no backward followed
    return record


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


# mask-missing, mask-wrong


def test_padding_without_a_mask_is_told_and_weighed_by_its_share():
    record = every_batch(healthy(), mask_given=False, padding_shown=128)
    assert found("mask-missing", record, "error").evidence["padding_share"] == 0.4
    not_measured("mask-wrong", record)
    found("mask-missing", every_batch(record, padding=16, padding_shown=16), "warning")


def test_no_mask_is_needed_where_nothing_is_padded():
    passes("mask-missing", every_batch(healthy(), mask_given=False, padding=0, padding_shown=0))


@pytest.mark.parametrize("hidden, shown, looks", [(192, 128, "inverted"), (192, 0, "all zeros"), (0, 128, "all ones"),
                                                  (90, 60, "misaligned")])
def test_a_mask_that_hides_text_or_shows_padding_is_told(hidden, shown, looks):
    record = every_batch(healthy(), real_hidden=hidden, padding_shown=shown)
    assert found("mask-wrong", record, "error").evidence["looks"] == looks
    passes("mask-missing", record)


def test_a_mask_that_is_wrong_in_evaluation_alone_is_told_as_such():
    record = healthy()
    validation = dataclasses.replace(record.batches[0], role="validation")
    validation.real_hidden, validation.padding_shown = validation.real_tokens, 0
    record.batches.append(validation)
    assert found("mask-wrong", record, "error").title.startswith("in evaluation the attention mask hides 100 %")


def test_stray_positions_of_a_mask_are_healthy():
    passes("mask-wrong", every_batch(healthy(), real_hidden=7, padding_shown=5))


def test_an_end_token_that_is_also_the_padding_is_not_held_against_the_mask():
    record = every_batch(healthy(), padding=24, padding_shown=16)
    found("mask-wrong", record, "warning")
    record.tokenizer.pad_id = record.tokenizer.end_id
    passes("mask-wrong", record)


# tokenizer-mismatch


def test_ids_that_mean_other_tokens_to_the_encoder_are_told():
    record = healthy()
    record.tokenizer.own_agreement, record.tokenizer.name = 0.08, "bert-base-cased"
    evidence = found("tokenizer-mismatch", record, "error").evidence
    assert evidence["ids_with_the_same_meaning_share"] == 0.08 and evidence["tokenizer"] == "bert-base-cased"


def test_words_that_the_script_numbered_itself_mean_nothing_to_the_encoder():
    record = healthy()
    record.tokenizer = None
    record.encoder.unused_share, record.encoder.start_share = 0.6, 0.0
    assert found("tokenizer-mismatch", record, "error").evidence["ids_that_stand_for_nothing_share"] == 0.6
    record.encoder.unused_share, record.encoder.start_share = 0.0, 1.0      # ids made before, with its own tokenizer
    passes("tokenizer-mismatch", record)


def test_vocabularies_of_different_size_are_told_where_meanings_cannot_be_compared():
    record = healthy()
    record.tokenizer.own_agreement, record.tokenizer.vocabulary_size = None, 28996
    assert found("tokenizer-mismatch", record, "error").evidence["difference"] == 1526


def test_an_id_beyond_the_embeddings_is_told():
    record = crashed(every_batch(healthy(), highest_id=31000), "IndexError", "index out of range in self")
    assert found("tokenizer-mismatch", record, "error").evidence["highest_id"] == 31000


def test_embeddings_rounded_up_and_added_tokens_are_healthy():
    record = healthy()
    record.tokenizer.own_agreement, record.encoder.vocabulary_size = None, 30592
    passes("tokenizer-mismatch", record)
    record.tokenizer.own_agreement, record.tokenizer.vocabulary_size = 0.998, 30524
    passes("tokenizer-mismatch", record)


def test_another_name_alone_is_no_mismatch_but_leaves_it_open():
    record = healthy()
    record.tokenizer.own_agreement, record.tokenizer.name = None, "my-tokenizer"
    not_measured("tokenizer-mismatch", record)


def test_an_encoder_without_checkpoint_knows_no_vocabulary_that_could_mismatch():
    record = from_configuration(healthy())
    record.tokenizer.own_agreement, record.tokenizer.vocabulary_size = None, 2000
    passes("tokenizer-mismatch", record)


# encoder-random


def from_configuration(record, hidden_size=768):
    encoder = record.encoder
    encoder.loaded_from, encoder.zero_bias_share, encoder.unit_norm_share = None, 1.0, 1.0
    encoder.hidden_size = hidden_size
    return record


def test_a_second_tokenizer_that_reads_new_texts_otherwise_misleads():
    record = healthy()
    record.tokenizer.other = OtherTokenizer("tmp/vocab.txt", 0.95, 0.01, 200, LINE)
    passes("tokenizer-mismatch", record)
    record.tokenizer.other = OtherTokenizer("tmp/vocab.txt", 0.03, 0.16, 200, LINE)
    finding = found("tokenizer-mismatch", record, "error")
    assert (finding.effect, finding.where) == ("misleads", LINE) and "97 % of its texts" in finding.title


def test_an_encoder_without_checkpoint_that_does_not_learn_is_an_error():
    record = every_batch(from_configuration(healthy()), loss=1.39)
    evidence = found("encoder-random", record, "error").evidence
    assert evidence["loaded_from"] == "no checkpoint" and evidence["unit_norm_share"] == 1.0


def test_an_encoder_trained_from_scratch_on_purpose_is_a_warning():
    found("encoder-random", every_batch(from_configuration(healthy(), hidden_size=64), loss=1.39), "warning")
    record = from_configuration(healthy())
    for batch in record.batches:
        batch.loss = 1.4 - 0.06 * batch.step
    found("encoder-random", record, "warning")


def test_a_checkpoint_whose_names_did_not_fit_is_told():
    record = every_batch(healthy(), loss=1.39)
    record.encoder.missing_weights, record.encoder.zero_bias_share, record.encoder.unit_norm_share = 197, 0.98, 1.0
    assert found("encoder-random", record, "error").evidence["missing_tensors"] == 197


def test_weights_initialised_again_after_loading_are_told_by_their_spread():
    record = every_batch(healthy(), loss=1.39)
    for parameter in record.parameters:
        parameter.std = 0.02001
    found("encoder-random", record, "error")


def test_a_missing_pooler_and_one_layer_set_anew_are_healthy():
    record = healthy()
    record.encoder.missing_weights, record.encoder.zero_bias_share = 2, 0.014
    passes("encoder-random", record)
    record.encoder.zero_bias_share = record.encoder.unit_norm_share = 0.17
    passes("encoder-random", record)


# encoder-frozen


def frozen(record, layers):
    for parameter in record.parameters:
        if parameter.part == "embeddings" or parameter.part in {f"layer {number}" for number in range(layers)}:
            parameter.trainable, parameter.gradient_norms = False, [None] * 3
    return record


def test_nine_of_twelve_frozen_layers_are_healthy():
    passes("encoder-frozen", frozen(healthy(), 9))
    passes("gradient-blocked", frozen(healthy(), 9))


def test_an_encoder_that_is_trained_after_a_first_stage_is_not_frozen():
    record = every_batch(frozen(healthy(), 12), loss=1.39)
    record.parameters[-5].change = 0.02
    passes("encoder-frozen", record)


def test_a_frozen_encoder_is_a_warning_while_the_head_learns_and_an_error_when_it_does_not():
    record = frozen(healthy(), 12)
    found("encoder-frozen", record, "warning")
    every_batch(record, loss=1.39)
    found("encoder-frozen", record, "warning")      # the script's own optimizer learns a batch
    record.controls[-1].outcome = False
    evidence = found("encoder-frozen", record, "error").evidence
    assert evidence["trainable_encoder_layers"] == 0 and evidence["trainable_parts"] == ["head", "pooler"]


def test_nothing_trainable_at_all_is_an_error():
    record = healthy()
    for parameter in record.parameters:
        parameter.trainable = False
    found("encoder-frozen", record, "error")


# freeze-ineffective


def act(kind, **facts):
    return FreezeAct(Site("train.py", 7, "model.bert.requires_grad = False"), kind, **facts)


@pytest.mark.parametrize("kind, facts", [("module", {"tensors": 199, "in_model": 199}), ("misspelt", {"tensors": 197}),
                                         ("parameter", {"tensors": 197, "in_model": 0})])
def test_lines_that_freeze_nothing_are_told_with_their_place(kind, facts):
    record = healthy()
    record.freezes = [act(kind, **facts)]
    finding = found("freeze-ineffective", record, "warning")
    assert finding.where.line == 7 and finding.evidence["of_these_frozen"] == 0


def test_freezing_that_works_or_is_taken_back_is_healthy():
    record = frozen(healthy(), 9)
    record.freezes = [act("parameter", tensors=150, in_model=150, still_frozen=150)]
    passes("freeze-ineffective", record)
    record = healthy()
    record.freezes = [act("parameter", tensors=199, in_model=197, still_frozen=0)]
    passes("freeze-ineffective", record)


def test_a_useless_line_beside_one_that_freezes_all_and_a_frozen_teacher_are_no_fault():
    record = frozen(healthy(), 12)
    record.parameters[-2].trainable = False     # the pooler
    record.freezes = [act("module", tensors=199, in_model=199)]
    passes("freeze-ineffective", record)
    record = healthy()
    record.freezes = [FreezeAct(Site("train.py", 7, "for p in teacher.parameters(): p.requires_grad = False"),
                                "parameter", tensors=199)]
    passes("freeze-ineffective", record)


# gradient-blocked


def blocked(record, layers, norm=None):
    for parameter in record.parameters:
        if parameter.part == "embeddings" or parameter.part in {f"layer {number}" for number in layers}:
            parameter.gradient_norms = [norm] * 3
    return record


def test_a_detached_encoder_and_one_under_no_grad_are_told():
    evidence = found("gradient-blocked", blocked(healthy(), range(12)), "error").evidence
    assert evidence["layers_without_gradient"] == 12
    found("gradient-blocked", blocked(healthy(), range(12), norm=0.0), "error")
    record = every_batch(blocked(healthy(), range(12)), gradient_enabled=False)
    assert "no_grad" in found("gradient-blocked", record, "error").title


def test_a_cut_below_the_top_layers_is_a_warning_if_it_is_low():
    found("gradient-blocked", blocked(healthy(), range(3)), "warning")
    found("gradient-blocked", blocked(healthy(), range(9)), "error")


def test_an_unused_top_layer_and_an_unused_pooler_are_healthy():
    passes("gradient-blocked", blocked(healthy(), [11]))


def test_a_loss_without_any_gradient_is_not_blamed_on_the_way_to_the_encoder():
    record = healthy()
    for parameter in record.parameters:
        parameter.gradient_norms = [0.0] * 3
    passes("gradient-blocked", record)


def test_a_frozen_encoder_is_not_blocked():
    not_measured("gradient-blocked", frozen(healthy(), 12))


# eval-mode


def test_training_in_eval_mode_is_told_and_worse_with_batch_norm():
    record = every_batch(healthy(), encoder_training=False, head_training=False)
    assert found("eval-mode", record, "warning").evidence["share"] == 1.0
    record.modules.append(Module("norm", "BatchNorm1d", "head", training=False))
    found("eval-mode", record, "error")
    record.modules = [Module("classifier", "Linear", "head")]
    found("eval-mode", record, "note")


def test_eval_mode_left_on_after_the_first_validation_is_told():
    record = healthy()
    record.batches[-1].encoder_training = record.batches[-1].head_training = False
    finding = found("eval-mode", record, "warning")
    assert "validation" in finding.title and finding.evidence["first_after_optimizer_steps"] == 19


def test_a_frozen_encoder_in_eval_mode_is_healthy():
    passes("eval-mode", every_batch(frozen(healthy(), 12), encoder_training=False))


# double-softmax


@pytest.mark.parametrize("operation, function", [("softmax", "cross_entropy"), ("sigmoid", "cross_entropy"),
                                                 ("sigmoid", "binary_cross_entropy_with_logits")])
def test_softmax_or_sigmoid_before_a_loss_that_applies_it_is_told(operation, function):
    record = every_batch(healthy(), last_operation=operation, loss_function=function)
    assert found("double-softmax", record, "error").evidence["last_operation"] == operation


def test_the_floor_of_the_loss_is_told():
    record = every_batch(healthy(), last_operation="softmax")
    assert found("double-softmax", record, "error").evidence["loss_cannot_fall_below"] == 0.744


def test_probabilities_are_recognised_by_their_values():
    record = every_batch(healthy(), last_operation="where", logits=[[0.1, 0.2, 0.3, 0.4]] * 16)
    found("double-softmax", record, "error")


def test_log_softmax_twice_is_a_note_and_pairs_that_belong_together_are_healthy():
    found("double-softmax", every_batch(healthy(), last_operation="log_softmax"), "note")
    passes("double-softmax", every_batch(healthy(), last_operation="log_softmax", loss_function="nll_loss"))
    passes("double-softmax", every_batch(healthy(), last_operation="sigmoid", loss_function="binary_cross_entropy"))


# head-mismatch


def test_fewer_outputs_than_classes_are_told_and_the_labels_are_not_blamed():
    record = crashed(every_batch(healthy(), outputs=3), "IndexError", "Target 3 is out of bounds.")
    evidence = found("head-mismatch", record, "error").evidence
    assert (evidence["outputs"], evidence["classes"]) == (3, 4)
    passes("label-out-of-range", record)


def test_more_outputs_than_classes_are_a_warning():
    assert found("head-mismatch", every_batch(healthy(), outputs=10), "warning").evidence["classes"] == 4


def test_a_class_that_only_the_validation_rows_have_needs_its_output():
    record = every_batch(relabelled(healthy(), {3: 2}), outputs=4)
    passes("head-mismatch", record)


def test_a_few_labels_cannot_call_a_class_missing():
    record = every_batch(healthy(), outputs=10)
    record.training = split_of([], record.training.labels[:40], complete=False)
    not_measured("head-mismatch", record)


def test_one_binary_output_for_four_classes_is_a_mismatch():
    record = every_batch(healthy(), outputs=1, loss_function="binary_cross_entropy_with_logits")
    found("head-mismatch", record, "error")


@pytest.mark.parametrize("kind, message", [
    ("ValueError", "Expected input batch_size (32) to match target batch_size (16)."),
    ("ValueError", "Target size (torch.Size([16])) must be the same as input size (torch.Size([16, 4]))"),
    ("RuntimeError", "shape '[-1, 3]' is invalid for input of size 64")])
def test_shape_errors_that_come_of_the_heads_width_are_named(kind, message):
    assert found("head-mismatch", crashed(healthy(), kind, message), "error").evidence["crash"].startswith(kind)


def test_a_forgotten_squeeze_and_logits_of_every_token_are_other_faults():
    record = crashed(every_batch(healthy(), outputs=1, loss_function="binary_cross_entropy_with_logits"), "ValueError",
                     "Target size (torch.Size([16])) must be the same as input size (torch.Size([16, 1]))")
    record = relabelled(relabelled(record, {2: 0}), {3: 1})
    record.validation = None
    passes("head-mismatch", record)
    passes("head-mismatch", crashed(healthy(), "ValueError",
                                    "Expected input batch_size (320) to match target batch_size (16)."))


# dead-head


def test_logits_that_are_the_same_for_every_row_are_dead():
    record = every_batch(healthy(), logits=[[0.3, -0.2, 0.1, 0.0]] * 16)
    assert found("dead-head", record, "error").evidence["largest_spread_between_rows"] == 0.0


def test_a_relu_whose_units_are_all_nought_is_dead():
    record = healthy()
    record.modules.append(Module("head.relu", "ReLU", "head", training=True, zero_share=1.0))
    assert found("dead-head", record, "error").evidence["dead_layer"] == "head.relu"
    record.modules[-1].zero_share = 0.45
    passes("dead-head", record)


def test_an_activation_after_the_last_layer_is_told_and_an_output_cut_off_for_all_rows_is_an_error():
    record = every_batch(healthy(), last_operation="relu")
    found("dead-head", record, "warning")
    for batch in record.batches:
        batch.logits = [[max(0.0, row[0]), 0.0, max(0.0, row[2]), 0.0] for row in batch.logits]
    assert found("dead-head", record, "error").evidence["outputs_0_for_every_row"] == [1, 3]
    evidence = found("dead-head", every_batch(healthy(), last_operation="tanh"), "warning").evidence
    assert evidence["loss_cannot_fall_below"] == 0.341


def test_a_fresh_head_that_differs_little_and_one_that_begins_at_nought_are_healthy():
    record = healthy()
    for batch in record.batches:
        batch.logits = [[0.3 + 0.01 * value for value in row] for row in batch.logits]
    passes("dead-head", record)
    record = healthy()
    record.batches[0].logits = [[0.0] * 4] * 16
    passes("dead-head", record)


def test_equal_logits_of_equal_texts_are_no_fault_of_the_head():
    record = every_batch(healthy(), logits=[[0.3, -0.2, 0.1, 0.0]] * 16, distinct_rows=1)
    passes("dead-head", record)


# dropout-extreme


def test_dropout_of_nine_tenths_is_an_error_and_a_half_before_the_last_layer_is_usual():
    record = healthy()
    record.modules[1].value = 0.9
    assert found("dropout-extreme", record, "error").evidence["share_kept"] == 0.1
    record.modules[1].value = 0.7
    found("dropout-extreme", record, "warning")
    record.modules[1].value = 0.5
    passes("dropout-extreme", record)


def test_within_the_encoder_less_dropout_is_too_much():
    record = healthy()
    record.modules[0].value = 0.7
    found("dropout-extreme", record, "error")
    record.modules[0].value = 0.3
    passes("dropout-extreme", record)


def test_dropout_that_is_off_does_no_harm():
    record = healthy()
    record.modules[1].value, record.modules[1].training = 0.9, False
    passes("dropout-extreme", record)


# batchnorm-small-batch


def normed(rows):
    record = healthy()
    record.modules.append(Module("norm", "BatchNorm1d", "head", training=True, rows=min(rows)))
    record.batches = [training_batch(step, [0, 1, 2, 3] * 8) for step in range(len(rows))]
    for batch, count in zip(record.batches, rows):
        batch.rows = count
    return record


def test_batch_norm_on_a_few_rows_is_told():
    assert found("batchnorm-small-batch", normed([2] * 10), "error").evidence["usual_rows"] == 2
    found("batchnorm-small-batch", normed([4] * 10), "warning")


def test_a_short_last_batch_and_batches_of_sixteen_are_healthy():
    passes("batchnorm-small-batch", normed([16] * 10 + [3]))


def test_a_last_batch_of_one_row_is_foreseen_and_recognised():
    record = normed([16] * 10)
    record.training.rows, record.training.batches = 161, 11
    assert found("batchnorm-small-batch", record, "error").evidence["rows_left_over"] == 1
    record.training.batches = 10        # drop_last
    passes("batchnorm-small-batch", record)
    message = "Expected more than 1 value per channel when training, got input size torch.Size([1, 512])"
    found("batchnorm-small-batch", crashed(normed([16] * 10), "ValueError", message), "error")


def test_without_batch_norm_small_batches_are_healthy():
    record = healthy()
    for batch in record.batches:
        batch.rows = 2
    passes("batchnorm-small-batch", record)


# ---- crashes


def test_a_crash_is_explained_by_a_finding_only_where_that_is_what_broke():
    record = every_batch(healthy(), mask_given=False, padding_shown=60)
    record.ended, record.steps, record.optimizer_steps, record.backwards = "crashed", [], 0, 1
    crashed(record, "IndexError", "index 5 is out of bounds for axis 0 with size 5")       # numpy's, of the script
    judgement = judge(record)
    assert "mask-missing" in [finding.name for finding in judgement.findings]
    assert "IndexError" in not_examined(record, judgement.findings, 300)
    crashed(relabelled(record, {0: 4}), "IndexError", "Target 4 is out of bounds.")
    judgement = judge(record)
    assert judgement.findings[0].name == "label-out-of-range" and not_examined(record, judgement.findings, 300) is None
    assert judgement.verdict.startswith("crashes before it learns anything: training labels 4")


def test_every_sign_of_a_standstill_has_a_help_that_stands_alone():
    for words, fix in majority_class.FIXES.items():
        assert "before this" not in fix, words
