"""Tables: every format is read, every row accounted for, and no text stands on both sides of a split."""

import gzip
import json
from collections import Counter

import pytest
from conftest import posts, write_csv

from data.tables import (TableError, class_names, class_numbers, normalized, overlap, read_table, sample_rows,
                         split_table)

ROWS = [("great, really", "Positive"), ("it said \"no\"", "Negative"), ("two\nlines", "Neutral"), ("日本語 🙂", "Positive")]


def as_jsonl(rows):
    return "".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in rows)


def as_tsv(rows):
    return "text\tlabel\n" + "".join('"' + text.replace('"', '""') + f'"\t{label}\n' for text, label in rows)


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz"])
def test_every_format_gives_the_same_rows(tmp_path, ending, bom):
    plain = write_csv(tmp_path / "plain.csv", ROWS).read_text("utf-8")
    content = bom + {"c": plain, "t": as_tsv(ROWS), "j": as_jsonl(ROWS)}[ending[1]].encode("utf-8")
    path = tmp_path / ("table" + ending)
    path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    table = read_table(path)
    assert list(zip(table.texts, table.labels)) == ROWS


def test_a_file_without_header_is_read_by_column_names(tmp_path):
    path = write_csv(tmp_path / "t.csv", [(1, "X", "Positive", "good"), (2, "Y", "Negative", "bad")], header=None)
    table = read_table(path, group_column="id", column_names=["id", "entity", "label", "text"])
    assert (table.texts, table.labels, table.groups) == (["good", "bad"], ["Positive", "Negative"], ["1", "2"])


def test_rows_without_text_or_label_are_dropped_and_counted_by_reason(tmp_path):
    path = write_csv(tmp_path / "t.csv", [("good", "1"), ("", "1"), ("   ", "0"), ("bad", ""), ("ugly",), ("fine", "0")])
    table = read_table(path)
    assert table.texts == ["good", "fine"]
    assert table.dropped == {"without text": 2, "without label": 2} and table.read == 6
    assert table.account() == "2 of 6 rows: 2 without label, 2 without text"


def test_whole_numbers_are_classes_in_their_own_order_whatever_their_json_type(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a", "label": 10}\n{"text": "b", "label": "2"}\n{"text": "c", "label": 2.0}\n', "utf-8")
    table = read_table(path)
    assert class_names(table.labels) == ["2", "10"]
    assert class_numbers(table, ["2", "10"]).tolist() == [1, 0, 0]


@pytest.mark.parametrize("name, content, message", [
    ("t.csv", "", "is empty"),
    ("t.csv", "text,label\n", "has no rows below its header line"),
    ("t.csv", "text,label\n,Positive\n", "no usable row: 0 of 1 rows: 1 without text"),
    ("t.csv", "body,label\nx,1\n", "no column 'text'; it has body, label"),
    ("t.csv", "text,label,text\nx,1,y\n", "more than one column 'text'"),
    ("t.csv", "text,label\na,1\nb,c,1\n", "line 3: 3 columns instead of 2"),
    ("t.csv", "text,label\na,1\n\xff,1\n", "not UTF-8"),
    ("t.csv.gz", "not gzip at all", "cannot be read"),
    ("t.jsonl", "", "is empty"),
    ("t.jsonl", '{"text": "a"\n', "line 1: not JSON"),
    ("t.jsonl", '[1]\n', "line 1: not a JSON object"),
    ("t.jsonl", '{"text": ["a"], "label": 1}\n', "'text' is a list"),
    ("t.jsonl", '{"body": "a", "label": 1}\n', "no column 'text'|no usable row"),
    ("t.xlsx", "PK", "no known format"),
])
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(TableError, match=message) as refused:
        read_table(path)
    assert "\n" not in str(refused.value) and name in str(refused.value)


def test_a_cut_off_gzip_file_is_refused(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\n" + b"good thing,1\n" * 5000)[:-30])
    with pytest.raises(TableError, match="cannot be read after about line"):
        read_table(path)


def test_a_label_that_training_lacks_is_named_with_its_line(tmp_path):
    table = read_table(write_csv(tmp_path / "v.csv", [("a", "Positive"), ("b", "Angry")]))
    with pytest.raises(TableError, match="line 3: the label 'Angry' does not occur in training"):
        class_numbers(table, ["Negative", "Positive"])


@pytest.mark.parametrize("count", [300, 6000])      # below and above the number of groups that folds are used for
def test_a_split_keeps_shares_and_never_parts_equal_texts_or_groups(tmp_path, count):
    rows = []
    for number, (text, label) in enumerate(posts(count)):
        rows.append((text, label, number // 3))
        if number % 5 == 0:     # the same text in other dress, in another group
            rows.append((text.upper().replace(" ", "  ") + "!!", label, count + number))
    table = read_table(write_csv(tmp_path / "t.csv", rows, header=("text", "label", "id")), group_column="id")
    training, validation = split_table(table, 0.1, seed=1)
    assert len(training) + len(validation) == len(table)
    assert 0.08 < len(validation) / len(table) < 0.12
    assert not {normalized(text) for text in training.texts} & {normalized(text) for text in validation.texts}
    assert not set(training.groups) & set(validation.groups)
    for label, number in Counter(table.labels).items():
        assert abs(validation.labels.count(label) / len(validation) - number / len(table)) < 0.05
    assert split_table(table, 0.1, seed=1)[1].lines == validation.lines
    assert split_table(table, 0.1, seed=2)[1].lines != validation.lines


def test_too_few_different_texts_to_split_are_refused(tmp_path):
    table = read_table(write_csv(tmp_path / "t.csv", [("good", "1"), ("bad", "0")] * 20))
    with pytest.raises(TableError, match="too few to set 10% aside"):
        split_table(table, 0.1, seed=0)


def test_a_sample_of_rows_is_stratified_and_repeatable(tmp_path):
    table = read_table(write_csv(tmp_path / "t.csv", posts(1000)))
    part = sample_rows(table, 200, seed=3)
    assert len(part) == 200 and part.lines == sorted(part.lines) == sample_rows(table, 200, seed=3).lines
    for label, number in Counter(table.labels).items():
        assert abs(part.labels.count(label) - number / 5) <= 1
    assert sample_rows(table, 0, seed=3) is table and sample_rows(table, 5000, seed=3) is table


def test_texts_are_the_same_whatever_their_case_punctuation_and_spacing():
    assert normalized("  Great,  PHONE!! ") == normalized("great phone") == "great phone"
    assert normalized("🙂🙂") != normalized("🙁")


def test_the_official_validation_file_stands_in_training(real_data):
    columns = ["id", "entity", "label", "text"]
    training = read_table(real_data / "twitter_training.csv.gz", group_column="id", column_names=columns)
    validation = read_table(real_data / "twitter_validation.csv", group_column="id", column_names=columns)
    assert training.read == 74_682 == len(training) + training.dropped["without text"]
    shared = overlap(training, validation)
    assert shared.groups == 1.0 and shared.texts == pytest.approx(0.716, abs=0.0005)
    parts = split_table(training, 0.1, seed=0)
    assert overlap(*parts).texts == overlap(*parts).groups == 0
