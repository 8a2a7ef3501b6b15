"""Labels are looked at before they are learned: near-equal names, words for no value, small classes, corrections."""

import csv
import json
from argparse import Namespace

import pytest
from conftest import ROOT, posts, write_csv

from training.run.data import read_tables
from training.run.screen import say_classes
from training.settings import read_settings
from training.texts.refusal import TableError
from training.texts.splitting import Overlap
from training.texts.tables import alike_labels, read_table


def relabelled(rows, change):
    return [(text, change(number, label)) for number, (text, label) in enumerate(rows)]


@pytest.fixture
def read(capsys):
    """Read the tables of a run: read(NAME=value, ...) -> (training, validation, whole, screen)."""
    def run(**constants):
        settings = read_settings(ROOT / "BERT_main_aggressive.py",
                                 [f"--{name}={value}" for name, value in constants.items()],
                                 {"FREEZE_STRATEGY": ("none",), "HEAD": ("batchnorm",), "QUOTING": ("", "none")})
        training, validation, whole, _ = read_tables(settings)
        return training, validation, whole, capsys.readouterr().out
    return run


# Names

@pytest.mark.parametrize("names", [("Positive", "positive"), ("POSITIVE", "positive "), ("0", "0.0"), ("1", "01"),
                                   ("very good", "very_good"), ("ＯＫ", "ok"), ("yes.", "yes")])
def test_names_that_differ_in_spelling_only_are_alike(names):
    assert alike_labels(["other", *names, names[0]]) == [list(names)]


@pytest.mark.parametrize("names", [("C", "C++", "C#"), ("1", "10", "-1"), ("好", "好评"), ("1.0", "1.5"), ("é", "e"),
    ("🙂", "🙁")])
def test_other_names_are_not(names):
    assert alike_labels([*names, *names]) == []


def test_near_equal_names_are_a_warning_with_counts_before_training(tmp_path, read):
    rows = relabelled(posts(80), lambda number,
        label: "negative" if number % 4 == 0 else "Negative" if number % 2 else "good")
    *_, screen = read(TRAIN_PATH=write_csv(tmp_path / "t.csv", rows))
    assert "WARNING    Negative (40 rows) and negative (20 rows) are learned as 2 classes; if they are one, write them alike" in screen
    assert screen.count("WARNING") == 1


def test_numbers_written_in_two_ways_are_a_warning(tmp_path, read):
    *_, screen = read(TRAIN_PATH=write_csv(tmp_path / "t.csv", relabelled(
        posts(80), lambda number, label: ["0", "0.0", "1", "1.0"][number % 4])))
    assert "0 (20 rows) and 0.0 (20 rows) are learned as 2 classes" in screen and screen.count("WARNING") == 2


def test_a_sound_table_gets_no_warning(read, posts_csv):
    assert "WARNING" not in read(TRAIN_PATH=posts_csv)[-1]


# Words for no value

def test_words_for_no_value_are_no_classes_and_are_counted(tmp_path, read):
    words = ["nan", "NaN", "NULL", "None", "N/A"]
    rows = relabelled(posts(80), lambda number,
        label: words[number // 10] if number % 10 == 0 and number < 50 else label)
    _, _, whole, screen = read(TRAIN_PATH=write_csv(tmp_path / "t.csv", rows))
    assert len(whole) == 75 == len(whole.texts) and not set(words) & set(whole.labels)
    assert whole.dropped == {f"with the label {word}": 1 for word in words}
    assert "75 of 80 rows: 1 with the label N/A, 1 with the label NULL" in screen


def test_groups_stay_beside_their_rows_when_some_are_dropped(tmp_path):
    rows = [(text, "nan" if number % 3 == 0 else label, number) for number, (text, label) in enumerate(posts(30))]
    table = read_table(write_csv(tmp_path / "t.csv", rows, ("text", "label", "id")), group_column="id")
    assert list(table.groups) == [str(number) for number in range(30) if number % 3]


def test_such_words_are_classes_where_they_are_all_there_is(tmp_path):
    table = read_table(write_csv(tmp_path / "t.csv", relabelled(posts(20), lambda number, label: ["NA",
        "None"][number % 2])))
    assert len(table) == 20 and not table.dropped


def test_one_class_beside_dropped_rows_is_refused_with_the_account(tmp_path, read):
    path = write_csv(tmp_path / "t.csv", relabelled(posts(20), lambda number, label: ["None", "hate"][number % 2]))
    with pytest.raises(TableError, match="every label is 'hate'; .*10 with the label None"):
        read(TRAIN_PATH=path)


# Counts

def test_small_classes_are_counted_and_those_too_small_are_said(capsys):
    training, validation = ["big"] * 100 + ["small"] * 10 + ["rare"] * 2, ["big"] * 10 + ["rare"]
    say_classes(Namespace(training=Rows(training), validation=Rows(validation),
                          names=["big", "rare", "small"], baseline=Namespace(loss=1.0, accuracy=0.5,
                              largest_class="big")))
    screen = capsys.readouterr().out
    assert "classes    big 89.3%, rare 1.8% (2), small 8.9% (10)" in screen
    assert "too few rows to learn or to score a class: rare 3" in screen and "small 10" not in screen


class Rows:
    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)


# Overlap

def test_an_overlap_inflates_where_it_could_move_a_score_by_more_than_its_interval():
    assert not Overlap(0.002, None, 1000).inflates      # 0.2 % beside ± 3.1 %
    assert Overlap(0.04, None, 1000).inflates and Overlap(0.0, 0.04, 1000).inflates
    assert not Overlap(0.04, None, 100).inflates and not Overlap(0.0, 0.0, 100).inflates


# How it was read is in the line about rows

def test_the_line_about_rows_says_how_a_file_was_read_and_which_columns_were_guessed(tmp_path, read):
    rows = [(label, f"{text} 声音很好") for text, label in posts(60)]
    content = "class;review\n" + "".join(f"{label};{text}\n" for label, text in rows)
    (tmp_path / "t.csv").write_bytes(content.encode("gbk"))
    *_, screen = read(TRAIN_PATH=tmp_path / "t.csv")
    lines = screen.splitlines()
    assert lines[0] == f"rows       60 of 60 rows  ({tmp_path / 't.csv'}, GB18030, separated by semicolons)"
    assert lines[1] == "           texts from the column 'review' (there is no 'text'), labels from the column 'class' " \
                       "(there is no 'label')"


def test_an_empty_path_is_refused_by_the_name_of_its_constant(read):
    with pytest.raises(TableError, match="TRAIN_PATH is empty"):
        read(TRAIN_PATH="")


@pytest.mark.parametrize("constant", ["TRAIN_PATH", "VAL_PATH"])
def test_a_file_that_is_not_there_is_told_with_its_constant_and_the_folder_looked_in(
        tmp_path, read, posts_csv, constant, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TableError) as refused:
        read(**{"TRAIN_PATH": posts_csv, constant: "data/gone.csv"})
    assert str(refused.value) == f"data/gone.csv: no such file in {tmp_path} ({constant})"


# Corrections

def corrections(path, table, rows, delimiter=",", encoding="utf-8-sig"):
    """A confidently_wrong.csv of some rows, {row: corrected}, as a spreadsheet saves it."""
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["line", "text", "label", "predicted", "probability", "corrected"])
        for row, corrected in rows.items():
            text = table.texts[row]
            writer.writerow([table.lines[row], "'" + text if text.startswith("=") else text, table.labels[row], "x",
                             "0.9911", corrected])
    return path


@pytest.mark.parametrize("saved", [{}, {"delimiter": ";"}, {"encoding": "utf-16", "delimiter": "\t"}])
def test_the_filled_in_column_of_a_report_corrects_the_labels(tmp_path, read, saved):
    rows = [("=1+1 is what it is", "Positive"), *posts(100)]
    path = write_csv(tmp_path / "t.csv", rows)
    table = read_table(path)
    wrong = corrections(tmp_path / "wrong.csv", table, {0: "Negative", 7: "Neutral", 8: "", 9: table.labels[9]},
        **saved)
    _, _, whole, screen = read(TRAIN_PATH=path, CORRECTIONS_PATH=wrong)
    changed = [row for row in range(101) if whole.labels[row] != table.labels[row]]
    assert whole.labels[0] == "Negative" and whole.labels[7] == "Neutral" and set(changed) <= {0, 7}
    assert f"corrected  {len(changed)} labels, by {wrong}" in screen


def test_where_there_is_a_validation_table_its_labels_are_corrected(tmp_path, read, posts_csv):
    path = write_csv(tmp_path / "v.csv", posts(20, seed=5))
    wrong = corrections(tmp_path / "wrong.csv", read_table(path), {3: "Neutral"})
    training, validation, *_ = read(TRAIN_PATH=posts_csv, VAL_PATH=path, CORRECTIONS_PATH=wrong)
    assert validation.labels[3] == "Neutral" and training.labels == read_table(posts_csv).labels


def test_corrections_that_do_not_fit_are_refused_in_one_line(tmp_path, read, posts_csv):
    table = read_table(posts_csv)
    other = read_table(write_csv(tmp_path / "other.csv", posts(20, seed=5)))
    for path, told in ((corrections(tmp_path / "a.csv", other, {3: "Neutral"}),
        "a.csv, line 2: .*posts.csv has no such text on line 5"),
                       (corrections(tmp_path / "b.csv", table, {2: "", 3: "Neutrl"}),
                           "b.csv, line 3: 'Neutrl' is no label of"),
                       (posts_csv, "is no file of corrections: it has no column 'line'"),
                       (tmp_path / "gone.csv", "gone.csv: no such file")):
        with pytest.raises(TableError, match=told) as refused:
            read(TRAIN_PATH=posts_csv, CORRECTIONS_PATH=path)
        assert "\n" not in str(refused.value)


def test_json_rows_are_corrected_by_their_number_in_the_list(tmp_path, read):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"text": text, "label": label} for text, label in posts(60)]), "utf-8")
    wrong = corrections(tmp_path / "wrong.csv", read_table(path), {5: "Neutral"})
    assert read(TRAIN_PATH=path, CORRECTIONS_PATH=wrong)[2].labels[5] == "Neutral"
