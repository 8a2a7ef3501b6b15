"""Tables of labelled texts: reading them, and splitting them so that no text stands on both sides.

README.md beside this file describes the formats. Every row that was read is either used or dropped for a counted
reason; whatever cannot be read is refused in one line that names the file, the line and the way out.
"""

import csv
import gzip
import json
import re
import sys
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")

# Up to so many groups are split by StratifiedGroupKFold, which balances classes and sizes but takes 0.4 ms a group;
# more of them even out by themselves.
FEW_GROUPS = 2000


class TableError(ValueError):
    """A table that cannot be used; the message is one line for people."""


@dataclass
class Table:
    """Labelled texts; the lists run in parallel."""
    path: str
    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)     # empty where no group column is given
    lines: list[int] = field(default_factory=list)      # line of the file on which the row ends
    read: int = 0                                       # rows in the file, the header not counted
    dropped: Counter = field(default_factory=Counter)   # reason -> rows

    def __len__(self):
        return len(self.texts)

    def rows(self, chosen):
        """The table of the chosen row numbers."""
        return Table(self.path, *([column[row] for row in chosen] if column else []
                                  for column in (self.texts, self.labels, self.groups, self.lines)))

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
    path = Path(path)
    if path.is_dir():
        raise TableError(f"{path} is a directory; name the file in it")
    if not path.exists():
        raise TableError(f"{path}: no such file")
    wanted = [text_column, label_column] + ([group_column] if group_column else [])
    table = Table(str(path))
    try:
        for line, cells in _rows(path, wanted, list(column_names)):
            _add(table, line, cells, text_column, label_column, group_column)
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not UTF-8 (byte 0x{error.object[error.start]:02x} after about line "
                         f"{table.read + 1:,}); save it as UTF-8") from error
    except (csv.Error, EOFError, gzip.BadGzipFile) as error:
        raise TableError(f"{path}: cannot be read after about line {table.read + 1:,}: {error}") from error
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}") from error
    if table.read == 0:
        raise TableError(f"{path} has no rows" + ("" if column_names else " below its header line"))
    if not table.texts:
        raise TableError(f"{path} has no usable row: {table.account()}")
    return table


def _add(table, line, cells, text_column, label_column, group_column):
    table.read += 1
    text, label = (_cell(cells.get(column)) for column in (text_column, label_column))
    if not text:
        table.dropped["without text"] += 1
    elif not label:
        table.dropped["without label"] += 1
    else:
        table.texts.append(text)
        table.labels.append(label)
        table.lines.append(line)
        if group_column:
            table.groups.append(_cell(cells.get(group_column)) or f"line {line}")    # no value: a group of its own


def _cell(value):
    """The text of a cell, '' for none; JSON's 1, 1.0 and "1" are one label."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _rows(path, wanted, column_names):
    """(line, {column: value}) of every row, with all wanted columns among the file's."""
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        if suffix.lower() in JSON_LINES:
            yield from _json_rows(path, file, wanted)
        elif suffix.lower() in DELIMITERS:
            yield from _delimited_rows(path, file, wanted, column_names, DELIMITERS[suffix.lower()])
        else:
            known = ", ".join((*DELIMITERS, *JSON_LINES))
            raise TableError(f"{path}: the ending says no known format; known are {known}, each also with .gz")


def _delimited_rows(path, file, wanted, column_names, delimiter):
    csv.field_size_limit(sys.maxsize)       # a text may be longer than the csv module's 128 KiB
    reader = csv.reader(file, delimiter=delimiter)
    columns = column_names or [name.strip() for name in next(reader, [])]
    if not columns:
        raise TableError(f"{path} is empty")
    _require_columns(path, columns, wanted, has_header=not column_names)
    for cells in reader:
        if not cells:       # an empty line
            continue
        if len(cells) > len(columns):
            raise TableError(f"{path}, line {reader.line_num}: {len(cells)} columns instead of {len(columns)}; "
                             f"put texts that hold a {'tab' if delimiter != ',' else 'comma'} in double quotes")
        yield reader.line_num, dict(zip(columns, cells))


def _json_rows(path, file, wanted):
    columns = {}
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise TableError(f"{path}, line {line}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise TableError(f"{path}, line {line}: not a JSON object such as {{\"text\": ..., \"label\": ...}}")
        for column in wanted:
            if isinstance(row.get(column), (dict, list)):
                raise TableError(f"{path}, line {line}: {column!r} is a {type(row[column]).__name__}, not a text")
        columns.update(dict.fromkeys(row))
        yield line, row
    if not columns:
        raise TableError(f"{path} is empty")
    _require_columns(path, list(columns), wanted)


def _require_columns(path, columns, wanted, has_header=True):
    repeated = [name for name, count in Counter(columns).items() if count > 1 and name in wanted]
    if repeated:
        raise TableError(f"{path} has more than one column {repeated[0]!r}")
    for column in wanted:
        if column not in columns:
            hint = "; if its first line is no header, name the columns with COLUMN_NAMES" if has_header else ""
            shown = ", ".join(name if len(name) <= 40 else name[:37] + "..." for name in columns)
            raise TableError(f"{path} has no column {column!r}; it has {shown}{hint}")


# Classes

def class_names(labels):
    """The classes in order: whole numbers by value, anything else by alphabet."""
    names = set(labels)
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        return sorted(names, key=int)
    return sorted(names)


def class_numbers(table, names):
    """Each row's label as its place in names.

    Raises:
        TableError: a label is not among them.
    """
    numbers = {name: number for number, name in enumerate(names)}
    for label, line in zip(table.labels, table.lines):
        if label not in numbers:
            raise TableError(f"{table.path}, line {line}: the label {label!r} does not occur in training; "
                             f"training has {', '.join(names)}")
    return numpy.array([numbers[label] for label in table.labels], dtype=numpy.int64)


# Splitting

def normalized(text):
    """A text without case, punctuation and spacing: what remains equal is the same text."""
    return re.sub(r"[\W_]+", " ", text.casefold()).strip() or text.strip()      # a text of emoji only stays as it is


def split_table(table, validation_share, seed):
    """(training, validation): stratified by label, equal texts and equal groups together on one side.

    Raises:
        TableError: too few separate texts or groups to split.
    """
    groups = _linked_groups([normalized(text) for text in table.texts], table.groups)
    count = groups.max() + 1
    parts = round(1 / validation_share)
    if count < parts:
        raise TableError(f"{table.path}: {count} different texts or groups are too few to set {validation_share:.0%} "
                         "aside for validation; add rows, or give VAL_PATH")
    if count <= FEW_GROUPS:
        folds = StratifiedGroupKFold(min(parts, Counter(table.labels).most_common(1)[0][1]), shuffle=True,
                                     random_state=seed)
        with warnings.catch_warnings():     # a class with fewer rows than folds cannot be in each; that is no news
            warnings.simplefilter("ignore", UserWarning)
            training, validation = next(folds.split(groups, table.labels, groups))
    else:
        training, validation = _split_groups(groups, numpy.array(table.labels), validation_share, seed)
    return table.rows(training), table.rows(validation)


def _linked_groups(texts, groups):
    """A number for each row, equal where rows share a text or a group, directly or through other rows."""
    columns = [texts, groups] if groups else [texts]
    rows = numpy.arange(len(texts))
    links, offset = [], len(texts)
    for column in columns:
        values, numbers = numpy.unique(numpy.array(column, dtype=object), return_inverse=True)
        links.append((rows, numbers + offset))
        offset += len(values)
    ends = tuple(numpy.concatenate(end) for end in zip(*links))
    graph = coo_matrix((numpy.ones(len(ends[0]), dtype=bool), ends), shape=(offset, offset))
    _, component = connected_components(graph, directed=False)
    return numpy.unique(component[:len(texts)], return_inverse=True)[1]


def _split_groups(groups, labels, validation_share, seed):
    """Whole groups at random, stratified by the label of each group's first row."""
    first = numpy.unique(groups, return_index=True)[1]
    common = Counter(labels[first])
    strata = [label if common[label] > 1 else "" for label in labels[first]]
    strata = strata if strata.count("") != 1 else None      # one group alone cannot be stratified
    _, chosen = train_test_split(numpy.arange(len(first)), test_size=validation_share, random_state=seed, stratify=strata)
    in_validation = numpy.isin(groups, chosen)
    return numpy.flatnonzero(~in_validation), numpy.flatnonzero(in_validation)


def sample_rows(table, rows, seed):
    """A random, stratified part of a table, in the table's order; the table itself where rows is 0 or not fewer."""
    if not 0 < rows < len(table):
        return table
    common = Counter(table.labels)
    stratify = table.labels if min(common.values()) > 1 and rows >= len(common) <= len(table) - rows else None
    chosen, _ = train_test_split(numpy.arange(len(table)), train_size=rows, random_state=seed, stratify=stratify)
    return table.rows(sorted(chosen))


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
    known = {normalized(text) for text in training.texts}
    texts = sum(normalized(text) in known for text in validation.texts) / len(validation)
    groups = None
    if training.groups:
        known = set(training.groups)
        groups = sum(group in known for group in validation.groups) / len(validation)
    return Overlap(texts, groups)
