"""Tables of labelled texts: reading them, and splitting them so that no text stands on both sides.

README.md beside this file describes the formats. Every row that was read is either used or dropped for a counted
reason; whatever cannot be read is refused in one line that names the file, the line and the way out.
"""

import csv
import gzip
import json
import math
import os
import re
import sys
import unicodedata
import warnings
import zlib
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

STANDARD_INPUT = "-"        # as the name of a table: CSV from standard input
DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")

# What no table of texts and classes goes beyond. The first bounds the memory that one row can take (400 MB if it is all
# commas): a gigabyte without a line break is refused, or behind an open quote. What goes beyond the others is not the
# column of the labels.
LONGEST_ROW = 8_000_000     # characters; a novel has one million, and JSON may write each as six
LONGEST_LABEL = 100         # characters
MOST_CLASSES = 1000         # the confusion matrix has as many rows and columns

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")    # break lines on a screen; no name of a class holds them
NOT_UTF8 = re.compile("[\udc80-\udcff]")           # what errors="surrogateescape" makes of bytes that are not
NO_CHARACTER = re.compile("[\x00\ud800-\udfff]")   # JSON can escape NUL and half characters; tokenizers raise on halves

# Up to so many groups times folds are split by StratifiedGroupKFold, which balances classes and sizes but takes 0.04 ms
# for each; more groups, 2,000 in ten folds, even out by themselves.
FEW_GROUPS_TIMES_FOLDS = 20_000


class TableError(ValueError):
    """A table that cannot be used; the message is one line for people."""


class Texts(Sequence):
    """Texts end to end as UTF-8: half the memory of a list of them, a quarter where they hold emoji."""

    def __init__(self, texts=()):
        self.utf8, self.ends = bytearray(), array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text):
        self.utf8 += text.encode("utf-8")
        self.ends.append(len(self.utf8))

    def __len__(self):
        return len(self.ends) - 1

    def __getitem__(self, row):
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        row = range(len(self))[row]     # counts from the end where negative, and refuses what is too high
        return self.utf8[self.ends[row]:self.ends[row + 1]].decode("utf-8")

    def __eq__(self, other):
        return isinstance(other, Sequence) and list(self) == list(other)


@dataclass
class Table:
    """Labelled texts; the columns run in parallel. Some 80 bytes a short text, for tables of many millions."""
    path: str
    texts: Sequence[str] = field(default_factory=Texts)
    labels: list[str] = field(default_factory=list)     # equal ones are one object
    groups: Sequence[str] = field(default_factory=Texts)            # empty where no group column is given
    lines: Sequence[int] = field(default_factory=partial(array, "q"))   # of the file, on which the row begins
    read: int = 0                                       # rows in the file, the header not counted
    dropped: Counter = field(default_factory=Counter)   # reason -> rows

    def __len__(self):
        return len(self.lines)

    @cached_property
    def keys(self):
        """A number for each text, the same where the texts are (normalized)."""
        return _keys(map(normalized, self.texts), len(self))

    def rows(self, chosen):
        """The table of the chosen row numbers."""
        part = Table(self.path, Texts(self.texts[row] for row in chosen), [self.labels[row] for row in chosen],
                     Texts(self.groups[row] for row in chosen if self.groups),
                     array("q", (self.lines[row] for row in chosen)))
        if "keys" in vars(self):
            part.keys = self.keys[chosen]
        return part

    def account(self):
        """'2,431 of 2,500 rows: 41 without text, 28 without label'"""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.dropped.items()))
        return f"{len(self):,} of {self.read:,} rows" + (f": {reasons}" if reasons else "")


# Reading

def read_table(path, text_column="text", label_column="label", group_column="", column_names=()):
    """The labelled texts of a CSV, TSV or JSON-lines file, plain or gzipped, UTF-8 with or without BOM.

    Args:
        column_names: the columns of a file that has no header line; empty where the first line names them.
        group_column: rows that share its value are never split apart; empty for none.

    Raises:
        TableError: the file cannot be read as such a table, or no row of it is usable.
    """
    wanted = [text_column, label_column] + ([group_column] if group_column else [])
    table = Table(_shown_path(path))
    for line, cells, _ in stream_rows(Path(path), wanted, column_names):    # a Path: a table to train on is a file
        if cells is not None:
            _add(table, line, cells, text_column, label_column, group_column)
    if table.read == 0:
        raise TableError(f"{table.path} has no rows" + ("" if column_names else " below its header line"))
    if not table.texts:
        raise TableError(f"{table.path} has no usable row: {table.account()}")
    _check_labels(table, label_column)
    return table


def _add(table, line, cells, text_column, label_column, group_column):
    table.read += 1
    text, label = cell_text(cells.get(text_column)), cell_text(cells.get(label_column))
    if not cells:
        table.dropped["empty"] += 1
    elif not text:
        table.dropped["without text"] += 1
    elif not label:
        table.dropped["without label"] += 1
    else:
        table.texts.append(text)
        table.labels.append(sys.intern(unicodedata.normalize("NFC", label)))    # two ways to write "ä" are one label
        table.lines.append(line)
        if group_column:    # no value: a group of its own, with a blank before it that no value of the file has
            table.groups.append(cell_text(cells.get(group_column)) or f" line {line}")


def cell_text(value):
    """The text of a cell, '' for none; JSON's 1, 1.0 and "1" are one label."""
    if value is None or value != value:     # null, and the NaN that pandas and numpy write for it
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return text if text.isascii() and "\0" not in text else NO_CHARACTER.sub("\ufffd", text)


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
    shown_path, line = _shown_path(path), 0
    try:
        if os.path.isdir(path):
            raise TableError(f"{shown_path} is a directory; name the file in it")
        file = 0 if path == STANDARD_INPUT else path        # 0 is standard input's number
        with _opener(path)(file, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            delimiter = delimiter_of(path)
            rows = _json_rows(shown_path, lines, wanted) if delimiter is None \
                else _delimited_rows(shown_path, lines, wanted, list(column_names), delimiter)
            for row in rows:
                line = row[0]
                yield row
    except FileNotFoundError as error:
        raise TableError(f"{shown_path}: no such file") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TableError(f"{shown_path}: cannot be read after about line {line + 1:,}: {error}; "
                         "is it gzipped, and whole?") from error
    except OSError as error:
        raise TableError(f"{shown_path}: {error.strerror or error}") from error


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
        raise TableError(f"{_shown_path(path)}: the ending says no known format; known are {known}, each also with .gz")
    return DELIMITERS.get(suffix)


def _opener(path):
    return gzip.open if Path(path).suffix.lower() == ".gz" else open


def _shown_path(path):
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
                raise TableError(f"{path}, line {line}: {_shown(column)} is a {type(cells[column]).__name__}, "
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
        raise TableError(f"{path} has more than one column {_shown(repeated[0])}")
    for column in wanted:
        if column not in columns:
            hint = "; if its first line is no header, name the columns with COLUMN_NAMES" if has_header else ""
            raise TableError(f"{path} has no column {_shown(column)}; it has {_listed(columns)}{hint}")


def _check_labels(table, label_column):
    labels = dict.fromkeys(table.labels)
    hint = f"is {_shown(label_column)} the column of the labels?"
    for label in labels:
        if len(label) > LONGEST_LABEL or CONTROL.search(label):
            raise TableError(f"{table.path}, line {table.lines[table.labels.index(label)]}: {_shown(label)} is no name "
                             f"of a class, which is one line of at most {LONGEST_LABEL} characters; {hint}")
    if len(labels) > MOST_CLASSES:
        raise TableError(f"{table.path} has {len(labels):,} different labels, and more than {MOST_CLASSES:,} are no "
                         f"classes; {hint}")


def _shown(name):
    """A column or label as a message quotes it: printable and short."""
    shown = repr(name[:50])
    return shown if len(shown) <= 50 else shown[:46] + "..." + shown[-1]


def _listed(names):
    listed = ", ".join(_shown(name)[1:-1] for name in names[:200])
    return listed if len(listed) <= 200 else f"{listed[:200]}... ({len(names):,} in all)"


# Classes

def class_names(labels):
    """The classes in order: whole numbers by value, anything else by alphabet."""
    names = set(labels)
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))     # 1 and 01 are two classes, always in one order
    return sorted(names)


def class_numbers(table, names):
    """Each row's label as its place in names.

    Raises:
        TableError: a label is not among them.
    """
    numbers = {name: number for number, name in enumerate(names)}
    for label, line in zip(table.labels, table.lines):
        if label not in numbers:
            raise TableError(f"{table.path}, line {line}: the label {_shown(label)} does not occur in "
                             f"training; training has {_listed(names)}")
    return numpy.fromiter(map(numbers.get, table.labels), numpy.int64, len(table))


# Splitting

def normalized(text):
    """A text without case, punctuation and spacing: what remains equal is the same text."""
    words = unicodedata.normalize("NFC", text).casefold()       # "ä" can be one character or two
    return re.sub(r"[\W_]+", " ", words).strip() or text.strip()        # a text of emoji only stays as it is


def _keys(texts, count):
    """8 bytes of each text's hash; that any two of ten million different texts share them has a chance of 3e-6."""
    return numpy.fromiter((int.from_bytes(blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")
                           for text in texts), numpy.uint64, count)


def split_table(table, validation_share, seed):
    """(training, validation): stratified by label, equal texts and equal groups together on one side.

    Raises:
        TableError: too few separate texts or groups to split.
    """
    groups = _linked_groups(table.keys, *([_keys(table.groups, len(table))] if table.groups else []))
    count = groups.max() + 1
    parts = round(1 / validation_share)
    if count < parts:
        raise TableError(f"{table.path}: {count} different texts or groups are too few to set {validation_share:.0%} "
                         "aside for validation; add rows, or give VAL_PATH")
    labels = _numbers(table.labels)
    in_every_fold = numpy.bincount(labels).max() >= parts       # one class at least
    if in_every_fold and count * parts <= FEW_GROUPS_TIMES_FOLDS:
        folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
        with warnings.catch_warnings():     # a class with fewer rows than folds cannot be in each; that is no news
            warnings.simplefilter("ignore", UserWarning)
            training, validation = next(folds.split(groups, labels, groups))
    else:
        training, validation = _split_groups(groups, labels, validation_share, seed)
    return table.rows(training), table.rows(validation)


def _numbers(labels):
    """Each label's place among the different ones."""
    places = {label: place for place, label in enumerate(sorted(set(labels)))}
    return numpy.fromiter(map(places.get, labels), numpy.int64, len(labels))


def _linked_groups(*columns):
    """A number for each row, equal where rows share a value in a column, directly or through other rows."""
    rows = numpy.arange(len(columns[0]))
    links, offset = [], len(rows)
    for column in columns:
        numbers = numpy.unique(column, return_inverse=True)[1]
        links.append((rows, numbers + offset))
        offset += numbers.max() + 1
    ends = tuple(numpy.concatenate(end) for end in zip(*links))
    graph = coo_matrix((numpy.ones(len(ends[0]), dtype=bool), ends), shape=(offset, offset))
    _, component = connected_components(graph, directed=False)
    return numpy.unique(component[:len(rows)], return_inverse=True)[1]


def _split_groups(groups, labels, validation_share, seed):
    """Whole groups at random, stratified by the label of each group's first row."""
    first = numpy.unique(groups, return_index=True)[1]
    size = math.ceil(validation_share * len(first))
    _, chosen = train_test_split(numpy.arange(len(first)), test_size=size, random_state=seed,
                                 stratify=_strata(labels[first], size))
    in_validation = numpy.isin(groups, chosen)
    return numpy.flatnonzero(~in_validation), numpy.flatnonzero(in_validation)


def _strata(labels, size):
    """The labels (numbers) as train_test_split can stratify by them, single ones together; None where it cannot."""
    strata = numpy.where(numpy.bincount(labels)[labels] > 1, labels, -1)
    counts = numpy.unique(strata, return_counts=True)[1]
    return strata if counts.min() > 1 and len(counts) <= min(size, len(labels) - size) else None


def sample_rows(table, rows, seed):
    """A random, stratified part of a table, in the table's order; the table itself where rows is 0 or not fewer."""
    if not 0 < rows < len(table):
        return table
    chosen, _ = train_test_split(numpy.arange(len(table)), train_size=rows, random_state=seed,
                                 stratify=_strata(_numbers(table.labels), rows))
    return table.rows(numpy.sort(chosen))


@dataclass
class Overlap:
    """How much of the validation rows stands in training too: as shares of the validation rows."""
    texts: float
    groups: float | None        # None where no group column is given

    @property
    def inflates(self):
        return self.texts > 0 or bool(self.groups)


def overlap(training, validation):
    """Count the validation texts (normalized) and groups that training holds as well."""
    texts = float(numpy.isin(validation.keys, training.keys).mean())
    groups = None
    if training.groups:
        groups = float(numpy.isin(*(_keys(table.groups, len(table)) for table in (validation, training))).mean())
    return Overlap(texts, groups)
