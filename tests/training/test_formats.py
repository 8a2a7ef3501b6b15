"""Files as they come: encodings, separators, quotes, JSON, workbooks, folders; read and said, or told the way out."""

import csv
import gzip
import io
import json
import sys

import pytest
from conftest import posts, write_csv

from training.texts.refusal import TableError
from training.texts.tables import read_table

ROWS = [(text, label) for text, label in posts(60)]
CHINESE = [(f"这个{thing}{what}", label) for thing in "风扇 手套 键盘 毛巾 台灯 书桌".split()
           for what, label in (("客服不理人", "0"), ("声音清楚", "1"), ("包装破了", "0"), ("很好用，喜欢", "1"))]
FRENCH = [("très déçu du café", "0"), ("déjà cassé à l'arrivée", "0"), ("“parfait”, c'est très bien", "1")] * 8


def as_text(rows, delimiter=",", header=("text", "label"), quoting=csv.QUOTE_MINIMAL):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerows([header, *rows])
    return file.getvalue()


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def assert_rows(table, rows):
    assert list(zip(table.texts, table.labels)) == [(text, label) for text, label in rows]


def refusal(path, **arguments):
    with pytest.raises(TableError) as refused:
        read_table(path, **arguments)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500
    return str(refused.value)


# Encodings

@pytest.mark.parametrize("encoding, said", [("utf-8", []), ("utf-8-sig", []), ("utf-16", ["UTF-16"]), ("gbk",
    ["GB18030"]),
                                            ("gb18030", ["GB18030"]), ("utf-32", ["UTF-32"])])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_chinese_is_read_in_the_encodings_that_excel_writes(tmp_path, encoding, said, ending):
    content = as_text(CHINESE).encode(encoding)
    table = read_table(written(tmp_path / f"t{ending}", gzip.compress(content) if ending.endswith("gz") else content))
    assert_rows(table, CHINESE)
    assert table.read_as == said


def test_utf_16_of_either_byte_order_is_read_by_its_mark(tmp_path):
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        assert_rows(read_table(written(tmp_path / "t.csv", mark + as_text(CHINESE).encode(encoding))), CHINESE)


def test_excels_unicode_text_is_read(tmp_path):
    table = read_table(written(tmp_path / "t.txt", as_text(CHINESE, "\t").replace("\n", "\r\n").encode("utf-16")))
    assert_rows(table, CHINESE)
    assert table.read_as == ["UTF-16"]


def test_chinese_that_begins_beyond_the_first_part_is_found(tmp_path):
    rows = [(f"plain text number {number}", "0") for number in range(20_000)] + CHINESE
    assert_rows(read_table(written(tmp_path / "t.csv", as_text(rows).encode("gbk"))), rows)


def test_mostly_english_with_some_chinese_in_gbk_is_read(tmp_path):
    rows = ROWS + CHINESE[:4]
    assert_rows(read_table(written(tmp_path / "t.csv", as_text(rows).encode("gbk"))), rows)


@pytest.mark.parametrize("rows, encoding, name", [
    (FRENCH, "cp1252", "WINDOWS-1252"),
    ([("grün und schön", "1"), ("häßlich, für mich", "0")] * 9, "latin-1", "WINDOWS-1252"),
    ([("příliš žluťoučký kůň", "1"), ("zażółć gęślą jaźń", "0")] * 9, "cp1250", "WINDOWS-1250"), ([("배송이 빨라서 좋아요",
        "1"), ("품질이 너무 나빠요", "0")] * 9, "euc-kr", "EUC-KR"),
    ([("Отличный товар", "1"), ("Плохое качество", "0")] * 9, "cp1251", "WINDOWS-1251"),
    ([("とても良い商品です", "1"), ("配送が遅かった", "0")] * 9, "shift_jis", "SHIFT_JIS"),
    ([("這個風扇很好用", "1"), ("客服不理人", "0")] * 9, "big5", "BIG5")])
def test_another_encoding_is_refused_by_its_name_with_the_command_that_converts(tmp_path, rows, encoding, name):
    import re
    path = written(tmp_path / "t.csv", as_text(rows).encode(encoding))
    told = refusal(path)
    assert re.search(rf"t.csv is not UTF-8 \(byte 0x.. in line 2\); it is likely {name}: --ENCODING=\w+ reads it so, or "
                     rf"convert it: iconv -f {name} -t UTF-8 .*t.csv > utf8.csv", told)
    assert_rows(read_table(path, encoding=encoding), rows)


def test_an_encoding_can_be_named_and_is_said(tmp_path):
    path = written(tmp_path / "t.csv", as_text(FRENCH).encode("cp1252"))
    table = read_table(path, encoding="cp1252")
    assert_rows(table, FRENCH)
    assert table.read_as == ["WINDOWS-1252"]
    assert "ENCODING is 'klingon', which Python does not know" in refusal(path, encoding="klingon")
    assert "is not UTF-8 (byte" in refusal(path, encoding="utf8")
    assert "ENCODING is 'rot13'" in refusal(path, encoding="rot13")


def test_utf_16_without_a_mark_is_refused_with_its_name(tmp_path):
    for rows in ROWS, CHINESE:
        path = written(tmp_path / "t.csv", as_text(rows).encode("utf-16-le"))
        told = refusal(path)
        assert "NUL byte" in told or "is not UTF-8" in told
        assert "it is likely UTF-16-LE: --ENCODING=utf-16-le reads it so" in told
        assert_rows(read_table(path, encoding="utf-16-le"), rows)


# Separators

@pytest.mark.parametrize("name, delimiter, said", [
    ("t.csv", ";", ["separated by semicolons"]), ("t.csv", "\t", ["separated by tabs"]), ("t.tsv", ",",
        ["separated by commas"]),
    ("t.csv", "|", ["separated by bars"]), ("t.txt", "\t", []), ("t.txt", ",", ["separated by commas"]),
    ("t.txt", ";", ["separated by semicolons"]), ("table", "\t", ["separated by tabs"])])
@pytest.mark.parametrize("header", [("text", "label"), ("label", "text")])
def test_what_separates_the_cells_is_seen(tmp_path, name, delimiter, said, header):
    rows = [(f"{text}{', truly' if number % 7 == 0 and delimiter != ',' else ''}", label)
            for number, (text, label) in enumerate(ROWS)]
    table = read_table(written(tmp_path / name, as_text(
        rows if header[0] == "text" else [row[::-1] for row in rows], delimiter, header)))
    assert_rows(table, rows)
    assert table.read_as == said


def test_a_separator_is_seen_where_columns_are_named_by_the_user(tmp_path):
    rows = [(number, label, text) for number, (text, label) in enumerate(ROWS)]
    path = written(tmp_path / "t.csv", as_text(rows, ";", ("1000", "Neutral", "the phone, it is")))
    table = read_table(path, column_names=["id", "label", "text"])
    assert len(table) == 61 and table.texts[0] == "the phone, it is"


@pytest.mark.parametrize("line, delimiter", [("sep=,", ","), ("sep=;", ";"), ('"sep=;"', ";"), ("SEP=\t", "\t")])
def test_excels_first_line_that_names_the_separator_is_skipped(tmp_path, line, delimiter):
    table = read_table(written(tmp_path / "t.csv", f"{line}\r\n{as_text(ROWS, delimiter)}"))
    assert_rows(table, ROWS)
    assert table.lines[0] == 3 and "its first line, sep=, skipped" in table.read_as


def test_a_file_of_one_column_keeps_its_separator(tmp_path):
    told = refusal(written(tmp_path / "t.csv", "text\ngood; bad\nfine\n"))
    assert "has no column 'label'; it has text" in told


# Quotes

def test_a_tab_separated_file_whose_texts_begin_with_a_quote_is_read_as_it_stands(tmp_path):
    rows = [(f'"{text}' if number in (20, 33, 41) else text, label) for number, (text, label) in enumerate(ROWS)]
    content = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
    table = read_table(written(tmp_path / "t.tsv", content))
    assert_rows(table, rows)
    assert table.read_as == ["quotes read as characters"]


@pytest.mark.parametrize("begins, ends", [(10, 30), (3, 4)])
@pytest.mark.parametrize("header", [("text", "label"), ("label", "text")])
def test_quotes_that_balance_by_chance_swallow_no_rows(tmp_path, begins, ends, header):
    rows = [(f'"{text}' if number == begins else f'{text}"' if number == ends else text, label)
            for number, (text, label) in enumerate(ROWS)]
    content = "\t".join(header) + "\n" + "".join(
        "\t".join(row if header[0] == "text" else row[::-1]) + "\n" for row in rows)
    assert_rows(read_table(written(tmp_path / "t.tsv", content)), rows)


def test_a_quoted_tab_separated_file_keeps_its_line_breaks_and_they_are_counted(tmp_path):
    rows = [(f'{text}\nand "more"' if number % 20 == 0 else text, label) for number, (text, label) in enumerate(ROWS)]
    table = read_table(written(tmp_path / "t.tsv", as_text(rows, "\t")))
    assert_rows(table, rows)
    assert table.read_as == ["3 rows with line breaks in quoted cells"]


def test_a_quoted_cell_with_tabs_and_line_breaks_is_named_with_its_line(tmp_path):
    rows = [*ROWS, ("one\ttwo\nthree", "Positive")]
    table = read_table(written(tmp_path / "t.tsv", as_text(rows, "\t")))
    assert_rows(table, rows)
    assert table.read_as[-1].startswith("the quoted cell in line 62 holds tabs and line breaks")


def test_how_quotes_are_read_can_be_said(tmp_path):
    path = written(tmp_path / "t.csv", 'text,label\n"good,1\nbad,0\n')
    assert "with --QUOTING=none" in refusal(path)
    assert read_table(path, quoting="none").texts == ['"good', "bad"]
    path = written(tmp_path / "t.tsv", 'text\tlabel\n"good\t1\nbad\t0\n')
    assert "leaves a double quote open" in refusal(path, quoting="double")


# JSON

def as_objects(rows, names=("text", "label")):
    return [dict(zip(names, row)) for row in rows]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ending", [".json", ".jsonl", ".json.gz"])
def test_a_list_of_objects_is_read(tmp_path, indent, ending):
    content = json.dumps(as_objects(ROWS * 200), indent=indent).encode()
    table = read_table(written(tmp_path / f"t{ending}", gzip.compress(content) if ending.endswith("gz") else content))
    assert_rows(table, ROWS * 200)
    assert table.read_as == ["one JSON list"] and table.counts == "row" and list(table.lines[:3]) == [1, 2, 3]


def test_json_lines_may_have_the_ending_json(tmp_path):
    content = "".join(json.dumps(each) + "\n" for each in as_objects(ROWS))
    assert_rows(read_table(written(tmp_path / "t.json", content)), ROWS)


@pytest.mark.parametrize("content, told", [
    ('[{"text": "a", "label": 1}, {"text": "b", "label"', "row 2: not JSON"),
    ('[{"text": "a", "label": 1}, 5]', "row 2: not a JSON object"),
    ('[{"text": "a", "label": 1}] [', "something stands behind the JSON list"),
    ('[{"text": "a", "label": 1}', "row 2: not JSON"),
    ("[{}, " + "[" * 100_000, "nested too deeply"),
    ("[]", "has no rows"),
    ('{"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}}', "is one JSON object"),
    ('{\n "data": [{"text": "a", "label": 1}]\n}',
        "is one JSON object; a table is one object a line or a list of them")])
def test_a_json_that_is_no_table_is_refused_in_one_line(tmp_path, content, told):
    assert told in refusal(written(tmp_path / "t.json", content))


def test_a_label_in_a_list_of_one_is_taken_and_several_are_refused(tmp_path):
    lines = [json.dumps({"id": number, "text": text, "label": [label]}) for number, (text, label) in enumerate(ROWS)]
    assert_rows(read_table(written(tmp_path / "t.jsonl", "\n".join(lines))), ROWS)
    table = read_table(written(tmp_path / "t.jsonl", "\n".join([*lines, '{"text": "a", "label": []}'])))
    assert table.dropped == {"without label": 1}
    lines.append('{"text": "both", "label": ["Positive", "Negative"]}')
    assert "line 61: 'label' holds 2 labels" in refusal(written(tmp_path / "t.jsonl", "\n".join(lines)))
    lines[-1] = '{"text": "spans", "label": [[0, 5, "ORG"]]}'
    assert "line 61: 'label' is a list" in refusal(written(tmp_path / "t.jsonl", "\n".join(lines)))


# Workbooks and Parquet

def sheet(path, rows, header=("text", "label")):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [header, *rows]:
        book.active.append(row)
    book.save(path)
    return path


def test_a_workbook_is_read_with_its_own_row_numbers(tmp_path):
    rows = [(text, number % 2) for number, (text, _) in enumerate(CHINESE)]
    table = read_table(sheet(tmp_path / "t.xlsx", [*rows[:5], (None, None), *rows[5:]]))
    assert_rows(table, [(text, str(label)) for text, label in rows])
    assert table.dropped == {"empty": 1} and table.lines[5] == 8 and table.counts == "row"


def test_of_several_sheets_the_first_is_read_and_said(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.load_workbook(sheet(tmp_path / "t.xlsx", ROWS))
    book.create_sheet("notes")
    book.save(tmp_path / "t.xlsx")
    assert read_table(tmp_path / "t.xlsx").read_as == ["sheet 'Sheet', the first of 2"]


def test_parquet_is_read(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(as_objects(ROWS) + [{"text": None, "label": "x"}]),
                                tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert_rows(table, ROWS)
    assert table.dropped == {"without text": 1} and table.counts == "row"


@pytest.mark.parametrize("ending, package", [(".xlsx", "openpyxl"), (".parquet", "pyarrow")])
def test_a_library_that_is_not_there_is_named_with_its_command(tmp_path, monkeypatch, ending, package):
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)         # as Python marks what cannot be imported
    told = refusal(written(tmp_path / f"t{ending}", b"PK\x03\x04"))
    assert f"pip install {package}" in told and "CSV UTF-8" in told


@pytest.mark.parametrize("ending", [".xlsx", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04 and more", b"text,label\na,1\n",
    b"PAR1" + bytes(50) + b"PAR1"])
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path, ending, content):
    pytest.importorskip({".xlsx": "openpyxl", ".parquet": "pyarrow"}[ending])
    assert f"cannot be read as {ending}" in refusal(written(tmp_path / f"t{ending}", content))


@pytest.mark.parametrize("name, content, told", [
    ("t.xls", b"\xd0\xcf\x11\xe0" + bytes(500), "an old Excel workbook; save it as .xlsx or as CSV UTF-8"),
    ("t.csv", b"PK\x03\x04" + bytes(500), "a zip archive"), ("t.csv", gzip.compress(b"text,label\n", mtime=0),
        "gzipped; give it the"),
    ("t.csv", b"PAR1" + bytes(50), "a Parquet file"), ("t.csv", b"<!DOCTYPE html>\n<html>404</html>\n", "a web page"),
    ("t.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer")])
def test_a_file_under_a_wrong_ending_is_told_what_it_is(tmp_path, name, content, told):
    assert told in refusal(written(tmp_path / name, content))


# Folders

def test_a_folder_of_texts_and_labels_is_told_the_command_that_joins_them_and_its_table_is_read(tmp_path):
    import re
    import subprocess
    folder = tmp_path / "sentiment"
    folder.mkdir()
    for part in ("train", "val", "test"):
        written(folder / f"{part}_text.txt", "".join(f'"{text}\n' for text, _ in ROWS))
        written(folder / f"{part}_labels.txt", "".join(f"{len(label) % 3}\n" for _, label in ROWS))
    written(folder / "mapping.txt", "0\tnegative\n")
    told = refusal(folder)
    command, train = re.search(r"a table of them: (.*)", told)[1].split(" && ")
    assert "train_labels.txt" in command and command.endswith("> train.tsv")
    assert train == "python BERT_main_aggressive.py --TRAIN_PATH=train.tsv"
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert_rows(read_table(tmp_path / "train.tsv"), [(f'"{text}', str(len(label) % 3)) for text, label in ROWS])


@pytest.mark.parametrize("names, told", [
    (["dataset_dict.json", "train"], r"load_from_disk(.*)['train'].to_csv('train.csv')"),
    (["dataset_info.json", "state.json", "data-00000-of-00001.arrow"], "to_csv('train.csv')"),
    (["notes.md", "train.csv"], "name the file in it, such as 'train.csv'"), ([],
        "is a directory; name the file in it")])
def test_a_folder_is_told_the_way_to_a_table(tmp_path, names, told):
    for name in names:
        written(tmp_path / name, b"")
    assert told.partition("(.*)")[2] in refusal(tmp_path) and told.partition("(.*)")[0] in refusal(tmp_path)


# What is left as it was

def test_a_table_in_memory_of_any_size_is_decided_by_its_first_part(tmp_path):
    rows = [(f'"{text}" {number}', label) for number in range(200) for text, label in ROWS]
    assert_rows(read_table(write_csv(tmp_path / "t.csv", rows)), rows)
