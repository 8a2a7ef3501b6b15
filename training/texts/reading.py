"""Rows of a file, one at a time: CSV, TSV or JSON lines, plain or gzipped.

data/README.md describes the formats; training/scoring.py writes a scored table back in its own. Whatever cannot be read is refused in one line that names the file, the line and
the way out.
"""

import csv
import gzip
import json
import os
import re
import zlib
from collections import Counter
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

STANDARD_INPUT = "-"        # as the name of a table: CSV from standard input
DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")

# Bounds the memory that one row can take (400 MB if it is all commas): a gigabyte without a line break is refused, or
# behind an open quote.
LONGEST_ROW = 8_000_000     # characters; a novel has one million, and JSON may write each as six

NOT_UTF8 = re.compile("[\udc80-\udcff]")           # what errors="surrogateescape" makes of bytes that are not
NO_CHARACTER = re.compile("[\x00\ud800-\udfff]")   # JSON can escape NUL and half characters; tokenizers raise on halves


class TableError(ValueError):
    """A table that cannot be used; the message is one line for people."""


def stream_rows(path, wanted, column_names=()):
    """(line, {column: value}, original) of every row, one at a time, with all wanted columns among the file's.

    An original is what stands in the file: the list of a delimited row's cells, which may be fewer than the columns, or
    the text of a JSON object. The first row of a delimited file is its header, (line, None, names as they stand there).
    An empty row has no values, {}.

    Args:
        path: a file, or STANDARD_INPUT.

    Raises:
        TableError: the file cannot be read as such a table, the rows above the fault having been given.
    """
    shown, line = shown_path(path), 0
    try:
        if os.path.isdir(path):
            raise TableError(f"{shown} is a directory; name the file in it")
        file = 0 if path == STANDARD_INPUT else path        # 0 is standard input's number
        with _opener(path)(file, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            delimiter = delimiter_of(path)
            rows = _json_rows(shown, lines, wanted) if delimiter is None \
                else _delimited_rows(shown, lines, wanted, list(column_names), delimiter)
            for row in rows:
                line = row[0]
                yield row
    except FileNotFoundError as error:
        raise TableError(f"{shown}: no such file") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TableError(f"{shown}: cannot be read after about line {line + 1:,}: {error}; "
                         "is it gzipped, and whole?") from error
    except OSError as error:
        raise TableError(f"{shown}: {error.strerror or error}") from error


def delimiter_of(path):
    """What stands between the cells of a table, by the ending of its name; None for JSON lines.

    Raises:
        TableError: the ending says no known format.
    """
    if path == STANDARD_INPUT:
        return DELIMITERS[".csv"]
    suffix = Path(Path(path).stem if _opener(path) is gzip.open else path).suffix.lower()
    if suffix not in (*DELIMITERS, *JSON_LINES):
        known = ", ".join((*DELIMITERS, *JSON_LINES))
        raise TableError(f"{shown_path(path)}: the ending says no known format; known are {known}, each also with .gz")
    return DELIMITERS.get(suffix)


def _opener(path):
    return gzip.open if Path(path).suffix.lower() == ".gz" else open


def shown_path(path):
    if path == STANDARD_INPUT:
        return "standard input"
    return str(path) if str(path).isprintable() else repr(str(path))


def _lines(path, file, row):
    """The lines of the file, each checked.

    Args:
        row: .begins and .length of the row that the lines belong to, set for each row by whoever takes the lines;
            .end is the last character of the last line.
    """
    for number, line in enumerate(iter(partial(file.readline, LONGEST_ROW + 1), ""), start=1):
        row.length += len(line)
        if row.length > LONGEST_ROW:
            raise TableError(f"{path}, line {row.begins}: a row of more than {LONGEST_ROW:,} characters begins here; "
                             "is a double quote left open, or is the file no table?")
        if not line.isascii() and (wrong := NOT_UTF8.search(line)):
            raise TableError(f"{path} is not UTF-8 (byte 0x{ord(wrong[0]) - 0xdc00:02x} in line {number}); "
                             "save it as UTF-8")
        if "\0" in line:
            raise TableError(f"{path}, line {number}: a NUL byte, as in UTF-16 or in a damaged file; save it as UTF-8")
        row.end = line[-1]
        yield line


def _delimited_rows(path, file, wanted, column_names, delimiter):
    csv.field_size_limit(LONGEST_ROW)       # a text may be longer than the csv module's 128 KiB
    row = SimpleNamespace(begins=1, length=0, end="")
    reader = csv.reader(_lines(path, file, row), delimiter=delimiter, strict=True)
    columns, end = [], ""
    try:
        for cells in chain([column_names], reader):     # names given stand in for a header line
            line, row.begins, row.length = row.begins, reader.line_num + 1, 0
            if cells and row.end in ("\n", "\r"):
                end = end or row.end
                if row.end != end:      # a program that ends rows by one may leave the other unquoted in a text
                    raise TableError(f"{path}, line {line}: a line break of another kind than above ends this row; "
                                     "put texts that hold line breaks in double quotes")
            if not columns:
                columns = [name.strip() for name in cells]
                if columns:     # else empty lines above the header
                    _require_columns(path, columns, wanted, has_header=not column_names)
                    yield line, None, cells
            elif len(cells) > len(columns):
                raise TableError(f"{path}, line {line}: {len(cells)} columns instead of {len(columns)}; "
                                 f"put texts that hold a {'tab' if delimiter != ',' else 'comma'} in double quotes")
            else:
                yield line, dict(zip(columns, cells)), cells
    except csv.Error as error:      # with strict=True; without it an open quote would swallow the rows behind it
        raise TableError(f"{path}, line {row.begins}: the row that begins here leaves a double quote open, or goes on "
                         "behind a closing one; write quotes within a quoted text twice") from error
    if not columns:
        raise TableError(f"{path} is empty")


def _json_rows(path, file, wanted):
    decode = json.JSONDecoder(parse_int=str).decode     # int() refuses more than 4,300 digits
    row = SimpleNamespace(begins=1, length=0, end="")
    columns = {}
    for text in _lines(path, file, row):
        line, row.begins, row.length = row.begins, row.begins + 1, 0
        try:
            cells = decode(text) if text.strip() else {}
        except json.JSONDecodeError as error:
            raise TableError(f"{path}, line {line}: not JSON ({error.msg}, column {error.colno})") from error
        except RecursionError as error:
            raise TableError(f"{path}, line {line}: JSON that is nested too deeply") from error
        if not isinstance(cells, dict):
            raise TableError(f"{path}, line {line}: not a JSON object such as {{\"text\": ..., \"label\": ...}}")
        for column in wanted:
            if isinstance(cells.get(column), (dict, list)):
                raise TableError(f"{path}, line {line}: {quoted(column)} is a {type(cells[column]).__name__}, "
                                 "not a text")
        columns = columns or dict.fromkeys(cells)       # what a message lists are those of the first row
        columns.update((column, None) for column in wanted if column in cells)
        yield line, cells, text.strip() or "{}"
    if not columns:
        raise TableError(f"{path} is empty")
    _require_columns(path, list(columns), wanted)


def _require_columns(path, columns, wanted, has_header=True):
    repeated = [name for name, count in Counter(columns).items() if count > 1 and name in wanted]
    if repeated:
        raise TableError(f"{path} has more than one column {quoted(repeated[0])}")
    for column in wanted:
        if column not in columns:
            hint = "; if its first line is no header, name the columns with COLUMN_NAMES" if has_header else ""
            raise TableError(f"{path} has no column {quoted(column)}; it has {listed(columns)}{hint}")


def cell_text(value):
    """The text of a cell, '' for none; JSON's 1, 1.0 and "1" are one label."""
    if value is None or value != value:     # null, and the NaN that pandas and numpy write for it
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return text if text.isascii() and "\0" not in text else NO_CHARACTER.sub("\ufffd", text)


def quoted(name):
    """A column or label as a message quotes it: printable and short."""
    shown = repr(name[:50])
    return shown if len(shown) <= 50 else shown[:46] + "..." + shown[-1]


def listed(names):
    listed = ", ".join(quoted(name)[1:-1] for name in names[:200])
    return listed if len(listed) <= 200 else f"{listed[:200]}... ({len(names):,} in all)"
