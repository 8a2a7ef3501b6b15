"""Tables of labelled texts: every row that was read is either used or dropped for a counted reason."""

import re
import sys
import unicodedata
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path

import numpy

from training.texts.reading import TableError, cell_text, listed, quoted, shown_path, stream_rows

# What goes beyond these is not the column of the labels.
LONGEST_LABEL = 100         # characters
MOST_CLASSES = 1000         # the confusion matrix has as many rows and columns

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")    # break lines on a screen; no name of a class holds them


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
            return [self[number] for number in range(*row.indices(len(self)))]
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
        return hashed(map(normalized, self.texts), len(self))

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


def read_table(path, text_column="text", label_column="label", group_column="", column_names=()):
    """The labelled texts of a CSV, TSV or JSON-lines file, plain or gzipped, UTF-8 with or without BOM.

    Args:
        column_names: the columns of a file that has no header line; empty where the first line names them.
        group_column: rows that share its value are never split apart; empty for none.

    Raises:
        TableError: the file cannot be read as such a table, or no row of it is usable.
    """
    wanted = [text_column, label_column] + ([group_column] if group_column else [])
    table = Table(shown_path(path))
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


def _check_labels(table, label_column):
    labels = dict.fromkeys(table.labels)
    hint = f"is {quoted(label_column)} the column of the labels?"
    for label in labels:
        if len(label) > LONGEST_LABEL or CONTROL.search(label):
            raise TableError(f"{table.path}, line {table.lines[table.labels.index(label)]}: {quoted(label)} is no name "
                             f"of a class, which is one line of at most {LONGEST_LABEL} characters; {hint}")
    if len(labels) > MOST_CLASSES:
        raise TableError(f"{table.path} has {len(labels):,} different labels, and more than {MOST_CLASSES:,} are no "
                         f"classes; {hint}")


def normalized(text):
    """A text without case, punctuation and spacing: what remains equal is the same text."""
    words = unicodedata.normalize("NFC", text).casefold()       # "ä" can be one character or two
    return re.sub(r"[\W_]+", " ", words).strip() or text.strip()        # a text of emoji only stays as it is


def hashed(texts, count):
    """8 bytes of each text's hash; that any two of ten million different texts share them has a chance of 3e-6."""
    return numpy.fromiter((int.from_bytes(blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")
                           for text in texts), numpy.uint64, count)


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
            raise TableError(f"{table.path}, line {line}: the label {quoted(label)} does not occur in "
                             f"training; training has {listed(names)}")
    return numpy.fromiter(map(numbers.get, table.labels), numpy.int64, len(table))
