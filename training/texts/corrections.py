"""Labels corrected by hand: a run's confidently_wrong.csv, its column `corrected` filled in, read back."""

import sys
import unicodedata
from pathlib import Path

from training.texts.reading import cell_text, open_source, stream_rows
from training.texts.refusal import TableError, listed, quoted
from training.texts.tables import normalized

COLUMNS = ("line", "text", "corrected")
COMPARED = 30_000       # characters of a text that tell it from others; a spreadsheet's cell holds 32,767


def correct_labels(table, path):
    """Give the rows of a table the labels of a file of corrections; returns how many changed.

    Raises:
        TableError: it is no such file, belongs to another table, or names a class that the table lacks.
    """
    source = open_source(Path(path), COLUMNS)
    lacking = [name for name in COLUMNS if name not in [column.strip() for column in source.header]]
    if lacking and source.header:
        raise TableError(f"{source.shown} is no file of corrections: it has no column {quoted(lacking[0])}; a run's "
                         "confidently_wrong.csv has them")
    names, rows = set(table.labels), {line: row for row, line in enumerate(table.lines)}
    changed = 0
    for line, cells, _ in stream_rows(source):
        label = unicodedata.normalize("NFC", cell_text((cells or {}).get("corrected")))
        if not label:
            continue
        place = f"{source.shown}, {source.format.counts} {line}"
        row = rows.get(_number(cell_text(cells.get("line"))))
        if row is None or not _same(table.texts[row], cell_text(cells.get("text"))):
            raise TableError(f"{place}: {table.path} has no such text on {table.counts} "
                             f"{quoted(cell_text(cells.get('line')), 20)[1:-1]}; are these another table's corrections?")
        if label not in names:
            raise TableError(f"{place}: {quoted(label)} is no label of {table.path}, which has {listed(sorted(names))}")
        changed += label != table.labels[row]
        table.labels[row] = sys.intern(label)
    return changed


def _number(text):
    try:
        return int(float(text))     # a spreadsheet may write 12 as 12.0
    except (ValueError, OverflowError):
        return None


def _same(text, told):
    """Whether a text is the one that was written, before which there may be an apostrophe."""
    return normalized(text)[:COMPARED] == normalized(told.removeprefix("'"))[:COMPARED]
