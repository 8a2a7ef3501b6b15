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

from training.texts.columns import choose_columns, refuse_header_as_row
from training.texts.reading import cell_text, open_source, stream_rows
from training.texts.refusal import TableError, listed, quoted

# What goes beyond these is not the column of the labels.
LONGEST_LABEL = 100         # characters
MOST_CLASSES = 1000         # the confusion matrix has as many rows and columns

# What pandas reads as no value, spelled as there. As a label it is dropped, unless all labels are such words.
MISSING = frozenset("#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,nan,"
                    "null".split(","))

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
    seconds: Sequence[str] = field(default_factory=Texts)           # each text's partner; empty where texts stand alone
    counts: str = "line"                                # or "row": what the numbers in lines count
    read_as: list[str] = field(default_factory=list)    # what was decided about the file: encoding, delimiter, quotes
    chosen: str = ""                                    # columns that were guessed

    def __len__(self):
        return len(self.lines)

    @cached_property
    def keys(self):
        """A number for each text or pair of texts, the same where these are (normalized)."""
        texts = map(normalized, self.texts)
        if self.seconds:
            texts = map("\n".join, zip(texts, map(normalized, self.seconds)))
        return hashed(texts, len(self))

    @property
    def words(self):
        """The texts as a model of words reads them: a pair is one text."""
        return [f"{second} {text}" for text, second in zip(self.texts, self.seconds)] if self.seconds else self.texts

    def rows(self, chosen):
        """The table of the chosen row numbers."""
        part = Table(self.path, Texts(self.texts[row] for row in chosen), [self.labels[row] for row in chosen],
                     Texts(self.groups[row] for row in chosen if self.groups),
                     array("q", (self.lines[row] for row in chosen)),
                     seconds=Texts(self.seconds[row] for row in chosen if self.seconds), counts=self.counts)
        if "keys" in vars(self):
            part.keys = self.keys[chosen]
        return part

    def account(self):
        """'2,431 of 2,500 rows: 41 without text, 28 without label'"""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.dropped.items()))
        return f"{len(self):,} of {self.read:,} rows" + (f": {reasons}" if reasons else "")


def read_table(path, text_column="text", label_column="label", group_column="", column_names=(), encoding="",
               quoting="", second_column=""):
    """The labelled texts of a file; data/README.md says which formats there are.

    Args:
        column_names: the columns of a file that has no header line; empty where the first line names them.
        group_column: rows that share its value are never split apart; empty for none.
        encoding, quoting: how the file is read; empty: recognised.
        second_column: the column of each text's partner, where a row is a pair of texts; empty for none.

    Raises:
        TableError: the file cannot be read as such a table, or no row of it is usable.
    """
    wanted = {"TEXT_COLUMN": text_column, "LABEL_COLUMN": label_column}
    wanted |= {"GROUP_COLUMN": group_column} if group_column else {}
    wanted |= {"SECOND_TEXT_COLUMN": second_column} if second_column else {}
    source = open_source(Path(path), tuple(wanted.values()), column_names, encoding, quoting)   # a Path: never "-"
    wanted, chosen = choose_columns(source, wanted)
    source.wanted, source.label_column = tuple(wanted.values()), wanted["LABEL_COLUMN"]
    table = Table(source.shown, counts=source.format.counts, chosen=chosen)
    for line, cells, _ in stream_rows(source):
        if cells is not None:
            _add(table, line, cells, wanted)
    if table.read == 0:
        raise TableError(f"{table.path} has no rows" + (" below its header line" if source.header and not column_names else ""))
    _drop_missing_labels(table)
    if not table.texts:
        raise TableError(f"{table.path} has no usable row: {table.account()}")
    _check_labels(table, wanted["LABEL_COLUMN"])
    if column_names:
        refuse_header_as_row(table, column_names)
    table.read_as = source.format.said + _line_breaks_told(source)
    return table


def _add(table, line, cells, columns):
    table.read += 1
    text, label = (cell_text(cells.get(columns[name])) for name in ("TEXT_COLUMN", "LABEL_COLUMN"))
    second = cell_text(cells.get(columns["SECOND_TEXT_COLUMN"])) if "SECOND_TEXT_COLUMN" in columns else ""
    if not cells:
        table.dropped["empty"] += 1
    elif not text:
        table.dropped["without text"] += 1
    elif not label:
        table.dropped["without label"] += 1
    elif "SECOND_TEXT_COLUMN" in columns and not second:
        table.dropped["without second text"] += 1
    else:
        table.texts.append(text)
        table.labels.append(sys.intern(unicodedata.normalize("NFC", label)))    # two ways to write "ä" are one label
        table.lines.append(line)
        if second:
            table.seconds.append(second)
        if "GROUP_COLUMN" in columns:   # no value: a group of its own, with a blank before it that no value has
            table.groups.append(cell_text(cells.get(columns["GROUP_COLUMN"])) or f" line {line}")


def _drop_missing_labels(table):
    """Drop the rows whose label is a word for none, as pandas does, and count each word."""
    words = MISSING & set(table.labels)
    if not words or words == set(table.labels):
        return
    counts = Counter(label for label in table.labels if label in words)
    kept = table.rows([row for row, label in enumerate(table.labels) if label not in words])
    table.texts, table.labels, table.groups, table.lines = kept.texts, kept.labels, kept.groups, kept.lines
    table.seconds = kept.seconds
    table.dropped.update({f"with the label {word}": count for word, count in counts.items()})


def _line_breaks_told(source):
    told = []
    if source.rows_over_lines:
        told.append(f"{source.rows_over_lines:,} rows with line breaks in quoted cells")
    if source.doubtful_line:
        told.append(f"the quoted cell in line {source.doubtful_line} holds tabs and line breaks: if it swallowed rows, "
                    "QUOTING=none reads them")
    return told


def _check_labels(table, label_column):
    labels = dict.fromkeys(table.labels)
    hint = f"is {quoted(label_column)} the column of the labels?"
    for label in labels:
        if len(label) > LONGEST_LABEL or CONTROL.search(label):
            place = table.lines[table.labels.index(label)]
            raise TableError(f"{table.path}, {table.counts} {place}: {quoted(label)} is no name "
                             f"of a class, which is one line of at most {LONGEST_LABEL} characters; {hint}")
    if len(labels) > MOST_CLASSES:
        raise TableError(f"{table.path} has {len(labels):,} different labels, and more than {MOST_CLASSES:,} are no "
                         f"classes; {hint}")


def alike_labels(labels):
    """Lists of labels that differ only in case, width, spacing or how a number is written, the commonest first."""
    alike = {}
    for label, count in Counter(labels).most_common():
        alike.setdefault(_plain_label(label), []).append(label)
    return [names for names in alike.values() if len(names) > 1]


def _plain_label(label):
    plain = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", label).casefold()).strip(" .") or label
    try:
        return float(label) if re.fullmatch(r"[-+]?\d+(\.\d*)?", label) else plain
    except ValueError:
        return plain


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
            raise TableError(f"{table.path}, {table.counts} {line}: the label {quoted(label)} does not occur in "
                             f"training; training has {listed(names)}")
    return numpy.fromiter(map(numbers.get, table.labels), numpy.int64, len(table))
