"""Tables: every format is read, every row accounted for, and no text stands on both sides of a split."""

import gzip
import json
from collections import Counter

import pytest
from conftest import posts, write_csv

from training.texts.refusal import TableError
from training.texts.splitting import overlap, sample_rows, split_table
from training.texts.tables import (MOST_CLASSES, Table, Texts, class_names, class_numbers, normalized,
                                   read_table)

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


def test_texts_packed_end_to_end_are_read_like_a_list():
    texts = ["good", "日本語 🙂", "", "two\nlines", "bad"]
    packed = Texts(texts)
    assert packed == texts and packed != texts[:4] and list(reversed(packed)) == texts[::-1]
    assert packed[-1] == "bad" and packed[1:4] == texts[1:4] and packed[::-2] == texts[::-2]
    assert packed.index("two\nlines") == 3 and "good" in packed and "goo" not in packed
    for row in (5, -6):
        with pytest.raises(IndexError):
            packed[row]


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


@pytest.mark.parametrize("name, header, row", [("t.csv", "\n\ntext,label\n", "good,1\n"),
                                               ("t.jsonl", "", '{"text": "good", "label": 1}\n')])
def test_empty_lines_are_rows_without_anything_except_above_the_header(tmp_path, name, header, row):
    path = tmp_path / name
    path.write_text(header + row + "\n" + row + "\r\n" * 2, "utf-8")
    table = read_table(path)
    assert table.account() == "2 of 5 rows: 3 empty"
    assert list(table.lines) == [header.count("\n") + 1, header.count("\n") + 3]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(tmp_path, line_end):
    path = tmp_path / "t.csv"
    path.write_bytes(line_end.join(["text,label", '"two', 'lines",1', "bad,0", ""]).encode())
    table = read_table(path)
    assert table.texts == [f"two{line_end}lines", "bad"] and list(table.lines) == [2, 4] and table.read == 2


def test_null_and_nan_of_json_are_no_text_and_no_label(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": NaN, "label": 1}\n{"text": "a", "label": null}\n{"text": "b", "label": 0}\n', "utf-8")
    assert read_table(path).account() == "1 of 3 rows: 1 without label, 1 without text"


def test_what_json_escapes_but_is_no_character_is_replaced(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(r'{"text": "half \ud83d, NUL \u0000, whole \ud83d\ude42", "label": "\udc00"}', "utf-8")
    table = read_table(path)
    assert (table.texts, table.labels) == (["half \ufffd, NUL \ufffd, whole 🙂"], ["\ufffd"])


def test_a_number_of_any_length_is_read_from_json(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"id": ' + "9" * 5000 + ', "text": 12, "label": 3}', "utf-8")
    table = read_table(path, group_column="id")
    assert (table.texts, table.labels, table.groups) == (["12"], ["3"], ["9" * 5000])


def test_a_label_is_the_same_in_either_unicode_form_and_in_one_order_however_numbers_are_written(tmp_path):
    table = read_table(write_csv(tmp_path / "t.csv", [("a", "e\u0301"), ("b", "\u00e9")]))
    assert class_names(table.labels) == ["\u00e9"]
    assert class_names(["2", "01", "1", "001", "-1"]) == ["-1", "001", "01", "1", "2"]


def test_a_row_without_group_shares_its_group_with_no_other(tmp_path):
    rows = [("a", "1", ""), ("b", "1", "line 2"), ("c", "1", "")]
    table = read_table(write_csv(tmp_path / "t.csv", rows, header=("text", "label", "id")), group_column="id")
    assert len(set(table.groups)) == 3


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
    ("t.csv", "text,label\na,1\n\xff,1\n", "not UTF-8 .byte 0xff in line 3"),
    ("t.csv", "\xff\xfet\0e\0x\0t\0", "no column 'label'; it has text"),
    ("t.csv", "text,label\na,1\nb\0,1\n", "line 3: a NUL byte"),
    ("t.jsonl", '{"text": "a", "label": 1}\n{"text": "b\0", "label": 1}\n', "line 2: a NUL byte"),
    ("t.csv", 'text,label\na,1\n"b,1\nc,0\n', "line 3: the row that begins here leaves a double quote open"),
    ("t.csv", 'text,label\na,1\n"b,1\nc,0\n"d,1\n', "line 3: the row that begins here leaves a double quote open"),
    ("t.csv", 'text,label\n"b" or not,1\n', "line 2: the row that begins here .* goes on behind a closing one"),
    ("t.csv", "text,label\na,1\nb\rc,0\n", "line 3: a line break of another kind than above"),
    ("t.csv", "text,label\na," + "b" * 101 + "\n", "line 2: 'bbb.*' is no name of a class.* is 'label' the column"),
    ("t.csv", 'text,label\na,1\nc,"\x1b[31m"\n', r"line 3: '\\x1b\[31m' is no name of a class"),
    ("t.csv", "text,label\n" + "".join(f"a,{number}\n" for number in range(MOST_CLASSES + 1)), "1,001 different labels"),
    ("t.csv.gz", "not gzip at all", "cannot be read"),
    ("t.jsonl", "", "is empty"),
    ("t.jsonl", '{"text": "a"\n', "line 1: not JSON"),
    ("t.jsonl", "[" * 100_000, "line 1: JSON that is nested too deeply"),
    ("t.jsonl", '[1]\n', "line 1: not a JSON object"),
    ("t.jsonl", '{"text": ["a"], "label": 1}\n', "'text' is a list"),
    ("t.jsonl", '{"body": "a", "label": 1}\n', "no column 'text'|no usable row"),
    ("t.doc", "a\nb\n", "no known format"),
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


def test_a_damaged_gzip_file_is_refused(tmp_path):
    whole = gzip.compress(b"text,label\n" + b"good thing,1\n" * 5000)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(whole[:10] + b"\xff" * 5 + whole[15:])
    with pytest.raises(TableError, match="cannot be read after about line .*; is it gzipped, and whole"):
        read_table(path)


def test_endings_may_be_written_in_capitals(tmp_path):
    path = tmp_path / "T.CSV.GZ"
    path.write_bytes(gzip.compress(b"text,label\ngood,1\n"))
    assert read_table(path).texts == ["good"]


@pytest.mark.parametrize("name", ["gone\nline 2.csv", "n" * 300 + ".csv", "gone\udcff.csv"])
def test_a_file_that_cannot_be_opened_is_refused_in_one_line_whatever_its_name(tmp_path, name):
    with pytest.raises(TableError, match="no such file|name too long") as refused:
        read_table(tmp_path / name)
    assert "\n" not in str(refused.value) and str(refused.value).encode("utf-8")


@pytest.mark.parametrize("columns", [["c" * 1_000_000], ["\x1b[2J"] * 3, [f"column {number}" for number in range(5000)]])
def test_a_refusal_stays_short_however_many_and_long_the_columns_are(tmp_path, columns):
    with pytest.raises(TableError, match="no column 'text'; it has c|no column 'text'; it has .x1b") as refused:
        read_table(write_csv(tmp_path / "t.csv", [], header=columns))
    assert len(str(refused.value)) < 500 and str(refused.value).isprintable()


def test_a_refused_label_is_told_the_classes_in_short(tmp_path):
    table = read_table(write_csv(tmp_path / "v.csv", [("a", "x")]))
    with pytest.raises(TableError, match=r"training has 0, 1, 2, .*\.\.\. \(900 in all\)") as refused:
        class_numbers(table, [str(number) for number in range(900)])
    assert len(str(refused.value)) < 500


def test_a_label_that_training_lacks_is_named_with_its_line(tmp_path):
    table = read_table(write_csv(tmp_path / "v.csv", [("a", "Positive"), ("b", "Angry")]))
    with pytest.raises(TableError, match="line 3: the label 'Angry' does not occur in training"):
        class_numbers(table, ["Negative", "Positive"])


@pytest.mark.parametrize("share", [0.01, 0.03, 0.05, 0.1, 0.15, 0.25, 0.3, 0.4, 0.5])
def test_the_share_asked_for_is_set_aside(tmp_path, share):
    table = read_table(write_csv(tmp_path / "t.csv", posts(200)))
    _, validation = split_table(table, share, seed=1)
    assert len(validation) == pytest.approx(share * 200, abs=4)


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


@pytest.mark.parametrize("count, classes", [(20, 20), (60, 30), (60, 7), (6000, 900), (6000, 6000)])
def test_a_tenth_is_set_aside_however_many_classes_there_are(tmp_path, count, classes):
    labels = [str(number % classes) for number in range(count)]
    table = Table("t.csv", [f"text {number}" for number in range(count)], labels, [], list(range(count)))
    training, validation = split_table(table, 0.1, seed=0)
    assert sorted([*training.lines, *validation.lines]) == list(table.lines)
    assert len(validation) == pytest.approx(count / 10, abs=1)
    assert len(sample_rows(table, count // 10, seed=0)) == count // 10


def test_a_sample_of_rows_is_stratified_and_repeatable(tmp_path):
    table = read_table(write_csv(tmp_path / "t.csv", posts(1000)))
    part = sample_rows(table, 200, seed=3)
    assert len(part) == 200 and list(part.lines) == sorted(part.lines) == list(sample_rows(table, 200, seed=3).lines)
    for label, number in Counter(table.labels).items():
        assert abs(part.labels.count(label) - number / 5) <= 1
    assert sample_rows(table, 0, seed=3) is table and sample_rows(table, 5000, seed=3) is table


def test_texts_are_the_same_whatever_their_case_punctuation_and_spacing():
    assert normalized("  Great,  PHONE!! ") == normalized("great phone") == "great phone"
    assert normalized("🙂🙂") != normalized("🙁")
    assert normalized("e\u0301te\u0301") == normalized("\u00e9t\u00e9") != normalized("ete")


def test_the_official_validation_file_stands_in_training(real_data):
    columns = ["id", "entity", "label", "text"]
    training = read_table(real_data / "twitter_training.csv.gz", group_column="id", column_names=columns)
    validation = read_table(real_data / "twitter_validation.csv", group_column="id", column_names=columns)
    assert training.read == 74_682 == len(training) + training.dropped["without text"]
    shared = overlap(training, validation)
    assert shared.groups == 1.0 and shared.texts == pytest.approx(0.716, abs=0.0005)
    parts = split_table(training, 0.1, seed=0)
    assert overlap(*parts).texts == overlap(*parts).groups == 0
