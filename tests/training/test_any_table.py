"""Any table: whatever file it is given, the reader uses or drops each row for a counted reason, or refuses in one line.

Hypothesis writes the files. The suite makes the same 40 each time; so many new ones, a fiftieth as many training runs
and a line of a billion characters are one command:

    ANY_TABLE_FILES=3000 python -m pytest tests/training/test_any_table.py
"""

import csv
import gzip
import io
import json
import os
import random
import re
import subprocess
import tempfile
import time
import tracemalloc
import unicodedata
import warnings
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout

import pytest
from conftest import ROOT, posts, write_csv
from hypothesis import event, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from training.texts.batches import encode
from training.texts.refusal import TableError
from training.texts.splitting import overlap, sample_rows, split_table
from training.texts.tables import class_names, class_numbers, normalized, read_table

os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", os.path.join(tempfile.gettempdir(), "hypothesis"))
LONG = "ANY_TABLE_FILES" in os.environ
FILES = int(os.environ.get("ANY_TABLE_FILES", 40))
RUNS = FILES // 50 if LONG else 3
LINE = 1_000_000_000 if LONG else 80_000_000       # characters without a line break

SURROGATE, NUL = "\ud800", "\0"
TAME = ["good", "bad", "the phone is", "1", " ", ",", ";", '"', '""', "'", "\t", "\n", "\r\n", "\r", "\\", "\ufeff",
        "🙂", "👩‍👩‍👧", "שלום", "مرحبا", "\u202e", "\u200b", "\u00a0", "\u2028", "é", "e\u0301", "日本", "\x1b[31m",
        "\x7f", "\ufffd", "İ"]
WILD = TAME + [NUL, SURROGATE, "\udfff", "\U0010ffff"]
LABELS = ["Positive", "positive", "Negative", "é", "e\u0301", "1", "01", "1.0", "-1", "2", "²", "١", "true", "🙂",
          "סבבה", "\u00a0"]
ODD_LABELS = LABELS + ["", " ", "two\nlines", "\x1b[2J", "x" * 101, "9" * 5000, NUL, SURROGATE, "nan"]

often = st.sampled_from([True, True, True, False])
seldom = st.sampled_from([False] * 9 + [True])


def reproducibly(examples):
    """The same examples each time in the suite, new ones in the long run."""
    return settings(max_examples=examples, derandomize=not LONG, database=None, deadline=None)


# Files

def cells(pieces):
    characters = st.characters(codec="utf-8", exclude_characters="" if NUL in pieces else NUL)
    return st.lists(st.sampled_from(pieces) | st.text(characters, max_size=4), max_size=6).map("".join)


@st.composite
def labelled(draw, pieces, labels, plain=(0, 12, 60, 60, 400)):
    """(text, label) rows: awkward ones, then as many plain ones as are needed for a split, or for 300 classes."""
    rows = draw(st.lists(st.tuples(cells(pieces), st.sampled_from(labels)), max_size=8))
    if draw(seldom):
        piece = draw(cells(pieces)) or "a"
        rows.append((piece * (1_000_000 // len(piece.encode("utf-8", "replace"))), draw(st.sampled_from(labels))))
    rows += [("", "")] * draw(st.sampled_from([0, 0, 1, 500]))
    classes = draw(st.sampled_from([1, 2, 3, 300]))
    rows += [(text, f"class {number % classes}") for number, (text, _) in
             enumerate(posts(draw(st.sampled_from(plain))))]
    random.Random(draw(st.integers(0, 9))).shuffle(rows)
    return rows


def as_delimited(rows, header, delimiter, line_end, quoting=csv.QUOTE_MINIMAL):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, lineterminator=line_end, quoting=quoting).writerows([header, *rows])
    return file.getvalue()


ingredients = st.sampled_from([(TAME, LABELS)] * 4 + [(WILD, LABELS), (WILD, ODD_LABELS)])


@st.composite
def delimited(draw):
    """A csv or tsv file as a program writes it, or as a person types it."""
    rows = draw(ingredients.flatmap(lambda both: labelled(*both)))
    if draw(seldom):        # rows with missing and surplus cells, where the header has them as well
        rows = [row[:draw(st.integers(0, 2))] + ("",) * draw(st.integers(0, 2)) for row in rows[:20]] + rows[20:]
    header = draw(st.sampled_from([("text", "label")] * 14 + [
        ("text", "label", "text"), ("text", "label", "id", "id"), ("label", "text", "id"), ("text",),
        (" text ", "label\n"), ("x" * 3000,) * 300, ("\x1b[31m", "label"), ()]))
    delimiter, line_end = draw(st.sampled_from(",\t")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    if draw(often):
        content = as_delimited(rows, header, delimiter, line_end)
    else:
        content = "".join(delimiter.join(row) + line_end for row in [header, *rows])
    return {",": ".csv", "\t": ".tsv"}[delimiter], content


plain_values = (st.none() | st.booleans() | st.integers() | st.floats() | cells(WILD) | st.sampled_from(ODD_LABELS)
                | st.just(10**400))
values = plain_values | st.recursive(plain_values, lambda inner: st.lists(inner, max_size=2)
                                     | st.dictionaries(st.text(max_size=2), inner, max_size=2), max_leaves=4)
ODD_LINES = ["", "  ", "{}", "null", '"text"', "[1]", "{'text': 1}", '{"text": "a"', '{"text": NaN, "label": Infinity}',
             '{"text": "a", "label": ' + "9" * 5000 + "}", '{"text": "a", "label": -1e999}', "[" * 100_000,
             '{"text": ' * 100_000, '{"text": "a", "text": "b", "label": 1}',
             '{"text": "\\ud83d\\ude42", "label": "\\ud83d"}', '{"text": "a\tb", "label": 1}',
             '\ufeff{"text": "a", "label": 1}', '{"text": "a", "label": 1} {}']


@st.composite
def json_lines(draw):
    rows = [dict(zip(("text", "label"), row)) for row in draw(ingredients.flatmap(lambda both: labelled(*both)))]
    one_value = st.fixed_dictionaries({"text": plain_values, "label": plain_values, "id": plain_values})
    rows += draw(st.lists(one_value, max_size=3)) if draw(seldom) else []
    if draw(seldom):
        keys = st.sampled_from(["text", "label", "id", SURROGATE, "\n"])
        rows += draw(st.lists(st.dictionaries(keys, values), max_size=4))
    escaped = draw(often)
    lines = [json.dumps(row, ensure_ascii=escaped) for row in rows]
    if draw(seldom):
        lines += draw(st.lists(st.sampled_from(ODD_LINES), max_size=3))
    random.Random(draw(st.integers(0, 9))).shuffle(lines)
    return draw(st.sampled_from([".jsonl", ".ndjson"])), draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines)


def damaged(draw, content):
    """The bytes of a content, and what happens to bytes."""
    if draw(seldom):
        return content.encode(draw(st.sampled_from(["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"])), "replace")
    content = draw(st.sampled_from([b""] * 4 + [b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2, b"\n\n"])) \
        + content.encode("utf-8", "surrogatepass")
    if draw(seldom):        # a piece is lost, or replaced
        start, length = draw(st.integers(0, len(content))), draw(st.sampled_from([0, 1, 5, len(content)]))
        other = draw(st.sampled_from([b"", b"", b'"', b",", b"\r", b"\n\n\n", NUL.encode(), b"\xff", b"\xed\xa0\x80",
                                      b"\xf0\x9f"]))
        content = content[:start] + other + content[start + length:]
    return content


def packed(draw, content):
    """A content gzipped, mostly well."""
    whole = gzip.compress(content, 1, mtime=0)
    if draw(often):
        return whole
    start = draw(st.integers(0, len(whole) - 1))
    changed = whole[:start] + bytes([whole[start] ^ draw(st.integers(1, 255))]) + whole[start + 1:]
    return draw(st.sampled_from([whole[:start], changed, whole + b"garbage", whole + bytes(64), whole + whole, content]))


@st.composite
def any_file(draw):
    """(ending, bytes) of what may be a table."""
    kind = draw(st.integers(0, 19))
    if kind == 0:
        ending = draw(st.sampled_from([".csv", ".tsv", ".jsonl", ".txt", "", ".gz", ".CSV"]))
        content = draw(st.binary(max_size=300) | cells(WILD).map(lambda text: text.encode("utf-8", "surrogatepass")))
    else:
        ending, content = draw(delimited() if kind < 12 else json_lines())
        content = damaged(draw, content)
    if draw(seldom):
        ending, content = ending + draw(st.sampled_from([".gz", ".GZ"])), packed(draw, content)
    return ending, content


@st.composite
def sound_file(draw, plain):
    """(rows, ending, bytes) of a well-formed table: whatever its texts and labels, the rows stand in it as they are."""
    form, line_end = draw(st.sampled_from([",", "\t", "json"])), draw(st.sampled_from(["\n", "\r\n"]))
    rows = draw(labelled(WILD if form == "json" else TAME, LABELS + [""], plain))
    if form == "json":
        content = line_end.join(json.dumps({"text": text, "label": label}) for text, label in rows)
    else:
        has_return = any("\r" in text for text, _ in rows)      # Python's csv quotes it from 3.13 on only
        content = as_delimited(rows, ("text", "label"), form, line_end,
                               csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL)
    ending, content = {",": ".csv", "\t": ".tsv", "json": ".jsonl"}[form], content.encode()
    return (rows, ending + ".gz", gzip.compress(content, 1)) if draw(seldom) else (rows, ending, content)


columns = st.sampled_from([{}] * 14 + [{"group_column": "id"}, {"group_column": "label"}, {"text_column": "label"},
                                      {"column_names": ("text", "label")}, {"column_names": ("label", "text", "id")},
                                      {"column_names": ("text", "text", "label")}, {"label_column": "x" * 2000}])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


def written(folder, ending, content):
    path = folder / ("table" + ending)
    path.write_bytes(content)
    return path


# What must hold for each

def assert_one_clear_line(message):
    assert 10 < len(message) < 500
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e]", message), message


def assert_accounted_for(table):
    assert table.read == len(table) + sum(table.dropped.values()) > 0
    assert {reason for reason in table.dropped if not reason.startswith("with the label n")} \
        <= {"empty", "without text", "without label"}
    assert len(table.texts) == len(table.labels) == len(table.lines) and len(table.groups) in (0, len(table))
    assert all(text.strip() and label.strip() for text, label in zip(table.texts, table.labels))
    "".join([*table.texts, *table.labels, *table.groups]).encode("utf-8")      # as every tokenizer does first
    assert list(table.lines) == sorted(set(table.lines))


def assert_split_apart(table, training, validation):
    assert len(training) and len(validation)
    assert sorted([*training.lines, *validation.lines]) == list(table.lines)
    assert not {normalized(text) for text in training.texts} & {normalized(text) for text in validation.texts}
    assert not set(training.groups) & set(validation.groups)
    assert not overlap(training, validation).inflates


def through(path, arguments, share, rows):
    """Read, number, sample and split; what came of it."""
    try:
        table = read_table(path, **arguments)
    except TableError as error:
        assert_one_clear_line(str(error))
        return "refused by the reader: " + re.sub(r"it has.*|'.*'|\(.*|\d+", "...", str(error).split("/")[-1])[:60]
    assert_accounted_for(table)
    names = class_names(table.labels)
    assert Counter(names[number] for number in class_numbers(table, names)) == Counter(table.labels)
    sample = sample_rows(table, rows, seed=1)
    assert len(sample) == (rows if 0 < rows < len(table) else len(table))
    assert set(sample.lines) <= set(table.lines) and list(sample.lines) == sorted(sample.lines)
    try:
        training, validation = split_table(table, share, seed=1)
        assert_split_apart(table, training, validation)
        class_numbers(validation, class_names(training.labels))
    except TableError as error:
        assert_one_clear_line(str(error))
        return "read and split, a class in validation only" if "training has" in str(error) else "read, too few to split"
    return "read and split"


@reproducibly(FILES)
@given(any_file(), columns, st.sampled_from([0.02, 0.1, 0.1, 0.5]), st.sampled_from([0, 1, 5, 50]))
def test_every_file_is_accounted_for_row_by_row_or_refused_in_one_clear_line(folder, file, arguments, share, rows):
    screen = io.StringIO()
    with redirect_stdout(screen), redirect_stderr(screen), warnings.catch_warnings():
        warnings.simplefilter("error")
        event(through(written(folder, *file), arguments, share, rows))
    assert screen.getvalue() == ""


def cleaned(cell):
    return re.sub("[\0\ud800-\udfff]", "\ufffd", cell.strip())


@reproducibly(FILES // 4)
@given(sound_file(plain=(0, 12, 60)))
def test_every_row_of_a_well_formed_file_is_used_or_dropped_for_its_reason(folder, file):
    rows, *file = file
    path = written(folder, *file)
    used = [(cleaned(text), unicodedata.normalize("NFC", cleaned(label))) for text, label in rows
            if text.strip() and label.strip()]
    if not used:
        with pytest.raises(TableError, match="no usable row|has no rows|is empty"):
            read_table(path)
        return
    table = read_table(path)
    without_text = sum(not text.strip() for text, _ in rows)
    assert list(zip(table.texts, table.labels)) == used
    assert table.read == len(rows)
    assert table.dropped["without text"] == without_text
    assert table.dropped["without label"] == len(rows) - without_text - len(used)


@reproducibly(RUNS)
@given(any_file() | sound_file(plain=(60,)) | sound_file(plain=(60,)), st.booleans())
def test_every_file_is_trained_on_with_its_account_on_the_screen_or_ends_in_one_error_line(folder, tiny_encoder, file,
                                                                                          weights):
    import BERT_main_aggressive as script
    path = written(folder, *file[-2:])
    screen, errors = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as results, redirect_stdout(screen), redirect_stderr(errors):
        status = script.main([f"--TRAIN_PATH={path}", f"--MODEL_NAME={tiny_encoder}", f"--OUTPUT_DIR={results}/run",
                              "--NUM_EPOCHS=1", "--BATCH_SIZE=8", "--MAX_LENGTH=16", f"--CLASS_WEIGHTS={weights}"])
    event(f"status {status}")
    screen, errors = screen.getvalue(), errors.getvalue()
    screen.encode("utf-8")
    if status == 0:
        assert "error" not in errors and "Traceback" not in errors
        assert re.search(r"^rows +" + re.escape(read_table(path).account()), screen, re.MULTILINE)
        assert re.search(r"^best +epoch 1 of 1", screen, re.MULTILINE)
    else:
        assert status == 2 and re.fullmatch(r"error: [^\r\n]+\n", errors), errors
        assert_one_clear_line(errors[:-1])


# Size

READ_AND_SAY_GROWTH = """
import re, sys
from training.texts.refusal import TableError
from training.texts.tables import read_table

def highest():      # of this process alone, in MB; ru_maxrss would count the one that started it
    with open("/proc/self/status") as file:
        return int(re.search("VmHWM: *(.*) kB", file.read().replace("\\t", " "))[1]) // 1024

before = highest()
try:
    print(read_table(sys.argv[1]).account())
except TableError as error:
    print(error)
print(highest() - before)
"""


def read_in_a_child(python, path):
    """(account or refusal, MB that reading took at its height)"""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("memory is measured on Linux only")
    child = subprocess.run([python, "-c", READ_AND_SAY_GROWTH, str(path)], cwd=ROOT, check=True,
                           capture_output=True, text=True, timeout=60)
    said, growth = child.stdout.splitlines()
    assert child.stderr == ""
    return said, int(growth)


ENDLESS = {      # beginning, what follows it again and again
    "one line": ("text,label\ngood,1\n", "a"), "one line of cells": ("text,label\ngood,1\n", "日,"),
    "an open quote": ('text,label\ngood,1\n"', "bad,0\n"), "quoted line breaks": ("text,label\ngood,1\n", '"\n",'),
    "a header": ("text,label", ","), "one object": ('{"text": "good", "label": 1}\n{"text": "', "a"),
    "one list": ('{"text": "good", "label": 1}\n{"text": [', "[],")}


@pytest.mark.parametrize("name, packed", [*((name, False) for name in ENDLESS), ("one line", True)])
def test_a_row_without_end_is_refused_at_once_and_in_bounded_memory(python, tmp_path, name, packed):
    beginning, again = ENDLESS[name]
    path = tmp_path / ("table" + (".csv" if beginning.startswith("text") else ".jsonl") + (".gz" if packed else ""))
    with (gzip.open(path, "wt", 1, encoding="utf-8") if packed else open(path, "w", encoding="utf-8")) as file:
        file.write(beginning)
        for _ in range((LINE if name == "one line" else LINE // 8) // 1_000_000):
            file.write(again * (1_000_000 // len(again)))
    said, growth = read_in_a_child(python, path)
    line = beginning.count("\n") + 1
    assert said.startswith(f"{path}, line {line}: a row of more than 8,000,000 characters begins here")
    assert growth < 150
    path.unlink()


@pytest.mark.parametrize("ending, beginning, again, end, said", [
    (".csv", "text,label\n", "日,", "\n", "line 2: 3999501 columns instead of 2"),
    (".csv", "", "日,", "\n", "has no column 'text'; it has 日, 日"),
    (".jsonl", '{"text": "good", "label": 1, "id": [', "[],", "[]]}\n", "1 of 1 rows")])
def test_the_longest_row_that_is_read_takes_bounded_memory(python, tmp_path, ending, beginning, again, end, said):
    content = beginning + again * (7_999_000 // len(again)) + end
    answer, growth = read_in_a_child(python, written(tmp_path, ending, content.encode()))
    assert said in answer and growth < 500


def test_a_hundred_thousand_empty_rows_are_read_in_two_seconds_and_counted(tmp_path):
    for ending, header, empty, rows, reason in (
            (".csv", "text,label\n", "\n", "good,1\nbad,0\n", "empty"),
            (".jsonl", "", "\n", '{"text": "a", "label": 1}\n', "empty"),
            (".csv", "text,label\n", ",\n", "good,1\nbad,0\n", "without text")):
        path = tmp_path / ("table" + ending)
        path.write_text(header + empty * 100_000 + rows, "utf-8")
        began = time.perf_counter()
        table = read_table(path)
        assert time.perf_counter() - began < 2
        assert table.dropped == {reason: 100_000} and table.read == 100_000 + len(table) == 100_000 + rows.count("\n")


def test_a_cell_of_a_megabyte_is_read_whole(tmp_path):
    text = 'so "good",\n' * 90_000
    content = as_delimited([(text, "1"), (text[:-50_000], "0")], ("text", "label"), ",", "\n")
    assert read_table(written(tmp_path, ".csv", content.encode())).texts == [text.strip(), text[:-50_000].strip()]


def test_a_short_text_takes_less_than_200_bytes_tokenized_and_on_the_way_there(tmp_path, tiny_encoder):
    tokenizer, seen = AutoTokenizer.from_pretrained(tiny_encoder), []
    for rows in 10_000, 20_000:
        path = write_csv(tmp_path / f"{rows}.csv", [(f"{text}, {text}!", label) for text, label in posts(rows)])
        tracemalloc.start()
        whole = read_table(path)
        training, validation = split_table(whole, 0.1, seed=1)
        overlap(training, validation)
        del whole
        encoded = encode(training.texts, class_numbers(training, class_names(training.labels)), tokenizer, 64)
        seen.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert encoded.ids.dtype == "uint16" and len(encoded) == 0.9 * rows
        assert encoded.ids.nbytes + encoded.starts.nbytes + encoded.labels.nbytes < 200 * len(encoded)
    assert seen[1] - seen[0] < 200 * 10_000, seen
