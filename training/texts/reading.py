"""Rows of a table, one at a time: CSV, TSV, JSON, .xlsx or .parquet, plain or gzipped.

data/README.md describes the formats, formats.py decides which one a file has, training/scoring.py writes a scored
table back in its own. Whatever cannot be read is refused in one line that names the file, the line and the way out.
"""

import contextlib
import csv
import gzip
import io
import json
import os
import re
import shlex
import zlib
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace

from training.texts.formats import (ENDINGS, ROWS_LOOKED_AT, Beginning, Format, ending_of, find_format, first_text,
                                    is_gzipped, shown_encoding, way_to_utf8, whole_lines)
from training.texts.refusal import STANDARD_INPUT, TableError, listed, quoted, shown_path

HEAD = 1 << 18              # bytes of a file by which its format is decided
TRAIN_ON = "python BERT_main_aggressive.py --TRAIN_PATH="       # behind the command that makes a table of a folder

# Bounds the memory that one row can take (400 MB if it is all commas): a gigabyte without a line break is refused, or
# behind an open quote.
LONGEST_ROW = 8_000_000     # characters; a novel has one million, and JSON may write each as six

NOT_DECODED = re.compile("[\udc80-\udcff]")        # what errors="surrogateescape" makes of bytes that are no characters
NO_CHARACTER = re.compile("[\x00\ud800-\udfff]")   # JSON can escape NUL and half characters; tokenizers raise on halves


@dataclass
class Source:
    """A table that can be read, and what its first part says."""
    path: object                            # a file, or STANDARD_INPUT
    shown: str
    format: Format
    column_names: list[str]                 # given by the user, of a file without a header line
    header: list[str] = field(default_factory=list)     # columns as they stand in the file; of JSON its first rows' keys
    examples: list[dict] = field(default_factory=list)  # {column: value} of the first rows
    whole: bool = False                     # whether these are all rows
    label_column: str = ""                  # whose one-item lists are their item
    wanted: tuple = ()                      # columns without which the table is refused
    stream: object = None                   # standard input, of which the head was looked at
    rows_over_lines: int = 0                # rows read whose quoted cells hold line breaks
    doubtful_line: int = 0                  # the first of them whose cell holds tabs between cells as well


def open_source(path, wanted, column_names=(), encoding="", quoting=""):
    """The Source of a table, its format decided.

    Raises:
        TableError: there is no such file, or its format is none that is known.
    """
    shown = shown_path(path)
    with told_in_one_line(path, SimpleNamespace(line=0)):
        if os.path.isdir(path):
            raise TableError(folder_told(Path(path)))
        stream = io.BufferedReader(io.FileIO(0, closefd=False), HEAD) if path == STANDARD_INPUT else None
        beginning = Beginning(stream.peek(), False) if stream else read_beginning(path)
        source = Source(path, shown, find_format(path, beginning, wanted, column_names, encoding, quoting),
                        list(column_names), stream=stream)
    if source.column_names and source.format.kind not in ("delimited", "xlsx"):
        raise TableError(f"{shown} names its columns itself, so that COLUMN_NAMES has no effect; say with TEXT_COLUMN "
                         "and LABEL_COLUMN which are meant")
    look_at_examples(source, beginning)
    return source


def read_beginning(path):
    head = beyond = b""
    with contextlib.suppress(EOFError, gzip.BadGzipFile, zlib.error), opened(path) as file:    # told when it is read
        while len(head) < HEAD and (part := file.read(HEAD // 16)):
            head += part
        while head.isascii() and beyond.isascii() and len(head) >= HEAD and (part := file.read(HEAD)):
            beyond = part
    return Beginning(head, len(head) < HEAD, beyond)


def opened(path):
    return gzip.open(path, "rb") if is_gzipped(path) else open(path, "rb")


def look_at_examples(source, beginning):
    """Note a source's columns and first rows; what is wrong with them is told when they are read."""
    columns, rows = {}, None
    try:
        if source.format.kind in READERS_OF_TEXT:
            lines = whole_lines(first_text(beginning, source.format.encoding), beginning.whole)
            rows = READERS_OF_TEXT[source.format.kind](source, io.StringIO("".join(lines), newline=""))
        for _, cells, original in islice(rows or _file_rows(source), ROWS_LOOKED_AT):
            if cells is None:
                source.header = original
            elif cells:
                source.examples.append(cells)
                columns |= dict.fromkeys(cells)
        source.whole = beginning.whole and len(source.examples) < ROWS_LOOKED_AT
    except (TableError, OSError, EOFError, zlib.error):
        pass
    source.header = source.header or list(columns)
    source.rows_over_lines = source.doubtful_line = 0


def folder_told(path):
    """What to do with a folder that was given as a table: TweetEval's, one that datasets saved, or any."""
    shown, names = shown_path(path), sorted(os.listdir(path), key=lambda name: ("train" not in name, name))
    for labels in names:
        for texts in (labels.replace("labels", "text"), labels.replace("label", "text")):
            if texts != labels and texts in names:
                files = " ".join(shlex.quote(str(path / name)) for name in (labels, texts))
                return (f"{shown} is a directory of labels and texts; this makes a table of them: (printf "
                        f"'label\\ttext\\n'; paste {files}) > train.tsv && {TRAIN_ON}train.tsv")
    if {"dataset_dict.json", "dataset_info.json", "state.json"} & set(names):
        part = "['train']" if "dataset_dict.json" in names else ""
        return (f"{shown} is a directory that datasets saved; this makes a table of it: python -c \"import datasets; "
                f"datasets.load_from_disk({str(path)!r}){part}.to_csv('train.csv')\" && {TRAIN_ON}train.csv")
    tables = [name for name in names if ending_of(name) in ENDINGS]
    return f"{shown} is a directory; name the file in it" + (f", such as {quoted(tables[0])}" if tables else "")


@contextlib.contextmanager
def told_in_one_line(path, place):
    """Whatever the system or a library finds wrong with a file, as a TableError; place.line is the last row's line."""
    shown = shown_path(path)
    try:
        yield
    except FileNotFoundError as error:
        looked = "" if os.path.isabs(path) else f" in {shown_path(os.getcwd())}"
        raise TableError(f"{shown}: no such file{looked}") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{shown} is not {error.encoding.upper()} after about line {place.line + 1:,}; name its "
                         "encoding with ENCODING, or save it as UTF-8") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TableError(f"{shown}: cannot be read after about line {place.line + 1:,}: {error}; "
                         "is it gzipped, and whole?") from error
    except OSError as error:
        raise TableError(f"{shown}: {error.strerror or error}") from error


def stream_rows(source):
    """(line, {column: value}, original) of every row, one at a time, with all of source.wanted among the columns.

    An original is what stands in the file: the list of a row's cells, which may be fewer than the columns, or the text
    of a JSON object. Where the file has a header, or names given for one, this comes first: (line, None, names). An
    empty row has no values, {}. Where lines say nothing the number of the row stands for them: see Format.counts.

    Raises:
        TableError: the file cannot be read as such a table, the rows above the fault having been given.
    """
    place = SimpleNamespace(line=0)
    with told_in_one_line(source.path, place):
        unseen = set(source.wanted) if source.format.kind in ("json", "list") else set()    # others have a header
        for row in _file_rows(source):
            place.line = row[0]
            if unseen:
                unseen -= row[1].keys()
            yield row
        if unseen and place.line:
            raise TableError(f"{source.shown} has no column {quoted(min(unseen))}; it has {listed(source.header)}")


def _file_rows(source):
    """The rows of the file, or of what stands behind the head of standard input."""
    with source.stream or opened(source.path) as binary:
        if source.format.kind not in READERS_OF_TEXT:
            yield from READERS_OF_BINARY[source.format.kind](source, binary)
            return
        with io.TextIOWrapper(binary, source.format.encoding, errors="surrogateescape", newline="") as file:
            yield from READERS_OF_TEXT[source.format.kind](source, file)


def _lines(source, file, row):
    """The lines of the file, each checked.

    Args:
        row: .begins and .length of the row that the lines belong to, set for each row by whoever takes the lines;
            .end is the last character of the last line.
    """
    for number, line in enumerate(iter(partial(file.readline, LONGEST_ROW + 1), ""), start=1):
        row.length += len(line)
        if row.length > LONGEST_ROW:
            raise _too_long(source, row.begins)
        check_characters(source, line, number)
        row.end = line[-1]
        yield line


def _too_long(source, begins):
    return TableError(f"{source.shown}, {source.format.counts} {begins}: a row of more than {LONGEST_ROW:,} characters "
                      "begins here; is a double quote left open, or is the file no table?")


def check_characters(source, text, line):
    """Raise for what the encoding or a table cannot hold in a piece of a file that begins on this line."""
    path = source.shown
    if not text.isascii() and (wrong := NOT_DECODED.search(text)):
        line += text.count("\n", 0, wrong.start())
        byte = f"byte 0x{ord(wrong[0]) - 0xdc00:02x} in line {line}"
        raise TableError(f"{path} is not {shown_encoding(source.format.encoding)} ({byte}); "
                         f"{way_to_utf8(source.path, source.format.likely)}")
    if "\0" in text:
        line += text.count("\n", 0, text.index("\0"))
        likely = source.format.likely
        way = way_to_utf8(source.path, likely) if likely.startswith("utf") else "save it as UTF-8"
        raise TableError(f"{path}, line {line}: a NUL byte, as in UTF-16 or in a damaged file; {way}")


def _delimited_rows(source, file):
    csv.field_size_limit(LONGEST_ROW)       # a text may be longer than the csv module's 128 KiB
    path, delimiter, quoting = source.shown, source.format.delimiter, source.format.quoting
    row = SimpleNamespace(begins=1, length=0, end="")
    above = source.format.skipped
    lines = islice(_lines(source, file, row), above, None)
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    columns, end, row.begins = [], "", 1 + above
    try:
        for cells in chain([source.column_names], reader):     # names given stand in for a header line
            line, row.begins, row.length = row.begins, reader.line_num + above + 1, 0
            if cells and row.end in ("\n", "\r"):
                end = end or row.end
                if row.end != end:      # a program that ends rows by one may leave the other unquoted in a text
                    raise TableError(f"{path}, line {line}: a line break of another kind than above ends this row; "
                                     "put texts that hold line breaks in double quotes")
            if row.begins - line > 1:
                source.rows_over_lines += 1
                if delimiter == "\t" and not source.doubtful_line \
                        and any("\t" in cell and re.search("[\r\n]", cell) for cell in cells):
                    source.doubtful_line = line
            if not columns:
                columns = [name.strip() for name in cells]
                if any(columns):
                    yield line, None, cells
                else:           # empty lines above the header
                    columns = []
            elif len(cells) > len(columns):
                raise TableError(f"{path}, line {line}: {len(cells)} columns instead of {len(columns)}; "
                                 f"put texts that hold a {delimiter_named(delimiter)} in double quotes")
            else:
                yield line, dict(zip(columns, cells)), cells
    except csv.Error as error:      # with strict=True; without it an open quote would swallow the rows behind it
        raise TableError(f"{path}, line {row.begins}: the row that begins here leaves a double quote open, or goes on "
                         "behind a closing one; write quotes within a quoted text twice, or read all quotes as "
                         "characters with --QUOTING=none") from error
    if not columns:
        raise TableError(f"{path} is empty")


def delimiter_named(delimiter):
    return {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}.get(delimiter, quoted(delimiter))


DECODER = json.JSONDecoder(parse_int=str)       # int() refuses more than 4,300 digits


def _json_rows(source, file):
    row = SimpleNamespace(begins=1, length=0, end="")
    some = False
    for text in _lines(source, file, row):
        line, row.begins, row.length = row.begins, row.begins + 1, 0
        try:
            cells = DECODER.decode(text) if text.strip() else {}
        except (json.JSONDecodeError, RecursionError) as error:
            raise _not_json(source, f"line {line}", error) from error
        some = some or bool(cells)
        yield line, _checked(source, line, cells), text.strip() or "{}"
    if not some:
        raise TableError(f"{source.shown} is empty")


def _list_rows(source, file):
    """The objects of one JSON list; little more of it than one of them is held at once."""
    pieces = iter(partial(file.read, 1 << 16), "")
    text, place, number, line = next(pieces, ""), 0, 0, 1
    between = re.compile(r"[\s,]*")         # json.loads is stricter about commas; nothing is lost by it
    check_characters(source, text, line)
    place = text.index("[") + 1             # by which the format was told
    while True:
        place = between.match(text, place).end()
        if text.startswith("]", place):
            break
        try:
            cells, end = DECODER.raw_decode(text, place)
        except RecursionError as error:
            raise _not_json(source, f"row {number + 1}", error) from error
        except json.JSONDecodeError as error:
            if len(text) - place > LONGEST_ROW:
                raise _too_long(source, number + 1) from None
            line += text.count("\n")
            more = "".join(islice(pieces, max(1, len(text) - place >> 16)))     # twice as much each time
            if not more:
                raise _not_json(source, f"row {number + 1}", error) from error
            check_characters(source, more, line)
            line -= text.count("\n", place)
            text, place = text[place:] + more, 0
            continue
        number += 1
        yield number, _checked(source, number, cells), re.sub(r"\s*[\r\n]\s*", " ", text[place:end])
        place = end
    if (text[place + 1:] + "".join(islice(pieces, 1))).strip():
        raise TableError(f"{source.shown}: something stands behind the JSON list that begins the file")


def _not_json(source, place, error):
    if isinstance(error, RecursionError):
        return TableError(f"{source.shown}, {place}: JSON that is nested too deeply")
    return TableError(f"{source.shown}, {place}: not JSON ({error.msg}, column {error.colno})")


def _checked(source, number, cells):
    """The values of a row as objects bear them: one label in a list is taken out of it, other lists are refused."""
    place = f"{source.shown}, {source.format.counts} {number}"
    if not isinstance(cells, dict):
        raise TableError(f"{place}: not a JSON object such as {{\"text\": ..., \"label\": ...}}")
    label = cells.get(source.label_column) if source.label_column else None
    if isinstance(label, list) and not any(isinstance(item, (dict, list)) for item in label):
        if len(label) > 1:
            raise TableError(f"{place}: {quoted(source.label_column)} holds {len(label)} labels, and a row is of one "
                             "class here; keep one of them, or give such rows none")
        cells[source.label_column] = label[0] if label else None
    for column in source.wanted:
        if isinstance(cells.get(column), (dict, list)):
            raise TableError(f"{place}: {quoted(column)} is a {type(cells[column]).__name__}, not a text")
    return cells


def _sheet_rows(source, binary):
    """The rows of a workbook's first sheet; the numbers are the sheet's own."""
    with library_for(source, "openpyxl", ".xlsx") as openpyxl:
        sheets = openpyxl.load_workbook(binary, read_only=True, data_only=True)
        rows = iter(sheets.worksheets[0].iter_rows(values_only=True))
    others = len(sheets.worksheets) - 1
    if others and not source.format.said:
        source.format.said.append(f"sheet {quoted(sheets.worksheets[0].title)}, the first of {others + 1}")
    columns, begins = [], 1
    if source.column_names:
        columns, begins = source.column_names, 1
        yield 1, None, columns
    number = 0
    while True:
        number += 1
        with library_for(source, "openpyxl", ".xlsx"):
            row = next(rows, None)
        if row is None:
            break
        cells = [cell_text(value) for value in row]
        while cells and not cells[-1]:
            cells.pop()
        if not columns:
            columns = [name.strip() for name in cells]
            if columns:
                yield number, None, cells
        elif len(cells) > len(columns):
            raise TableError(f"{source.shown}, row {number}: {len(cells)} columns instead of {len(columns)}")
        else:
            yield number, dict(zip(columns, cells)), cells
    if not columns:
        raise TableError(f"{source.shown} is empty")


def _parquet_rows(source, binary):
    with library_for(source, "pyarrow.parquet", ".parquet") as parquet:
        file = parquet.ParquetFile(binary)
        names = list(file.schema_arrow.names)
        batches = file.iter_batches(1024)
    yield 0, None, names
    number = 0
    while True:
        with library_for(source, "pyarrow.parquet", ".parquet"):
            batch = next(batches, None)
            rows = batch.to_pylist() if batch is not None else []
        if batch is None:
            return
        for cells in rows:
            number += 1
            cells = _checked(source, number, cells)
            yield number, cells, [cell_text(cells[name]) for name in names]


@contextlib.contextmanager
def library_for(source, name, ending):
    """An optional library, whatever it raises told in one line."""
    import importlib
    package = name.partition(".")[0]
    try:
        yield importlib.import_module(name)
    except ImportError:
        raise TableError(f"{source.shown}: {ending} is read by {package}, which is not here: pip install {package}; or "
                         "save the table as CSV UTF-8") from None
    except MemoryError:
        raise
    except Exception as error:      # zip, XML and Thrift each have errors of their own
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise TableError(f"{source.shown} cannot be read as {ending}: {quoted(said, 130)[1:-1]}") from error


READERS_OF_TEXT = {"delimited": _delimited_rows, "json": _json_rows, "list": _list_rows}
READERS_OF_BINARY = {"xlsx": _sheet_rows, "parquet": _parquet_rows}


def cell_text(value):
    """The text of a cell, '' for none; JSON's 1, 1.0 and "1" are one label."""
    if value is None or value != value:     # null, and the NaN that pandas and numpy write for it
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return text if text.isascii() and "\0" not in text else NO_CHARACTER.sub("\ufffd", text)
