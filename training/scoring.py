"""A table scored: the same rows with the predictions as further columns."""

import csv
import json
import sys
from functools import partial
from types import SimpleNamespace

from tqdm.auto import tqdm

from training.precision import choose_precision
from training.predicting import mixed_probabilities
from training.texts.columns import choose_columns
from training.texts.reading import cell_text, open_source, stream_rows

# A table is scored in chunks that end at whichever comes first, so that memory does not grow with the table.
CHUNK_ROWS = 4096               # texts of like length are found among so many

CHUNK_CHARACTERS = 16_000_000   # 64 MB at most

JSON = ("json", "list")         # kinds of format; both are written as JSON lines


def score_table(model, source, output, columns, settings, signals=()):
    """Write a table with the predictions as further columns to an open text file; (rows with text, rows, Precision).

    Args:
        source, columns: the table and its columns of texts, from open_to_score().
        settings: .BATCH_SIZE as in predicting.py; .EXACT: in float32 whatever the device; .UNSURE_BELOW: where this is
            not 0, a last column says "unsure" of labels whose probability is lower.
        signals: filled where Ctrl-C was noted.

    Raises:
        TableError: the table cannot be read; the chunks above the fault are written.
    """
    precision = choose_precision(not settings.EXACT)
    predict = partial(mixed_probabilities, model, precision, batch_size=settings.BATCH_SIZE)
    rows, unsure_below = stream_rows(source), settings.UNSURE_BELOW
    wanted = ["label", "probability", *model.label_names, *["unsure"] * (unsure_below > 0)]
    if source.format.kind in JSON:      # any row may hold one of the names, so all are looked at first
        header = {key for _, values, _ in rows for key in values if key.endswith(tuple(wanted))}
        rows = stream_rows(source)
    else:
        _, _, header = next(rows)
    names = free_names(wanted, header)
    if names != wanted:
        renamed = ", ".join(name for name, asked in zip(names, wanted) if name != asked)
        print(f"columns of these names are there already, so those added are called {renamed}", file=sys.stderr)
    write = row_writer(source.format, header, names, output)
    scored = total = 0
    with tqdm(unit=" rows", disable=None) as bar:
        for texts, originals in chunks(rows, columns):
            results = predict_rows(predict, model.label_names, texts, bar, signals)
            for row, original in enumerate(originals):
                values = results.get(row, [None] * len(names))
                if unsure_below and row in results:
                    values.append("unsure" if values[1] < unsure_below else None)
                write(original, values)
            output.flush()
            scored, total = scored + len(results), total + len(originals)
    return scored, total, precision


def open_to_score(path, columns, column_names=(), encoding="", quoting=""):
    """(Source of a table, column of its texts, column of their second texts if asked for); says what was recognised.

    Args:
        columns: of the texts, and of their second ones where the model reads pairs, else ''.

    Raises:
        TableError: the table cannot be read as such, or has no such column.
    """
    wanted = {name: column for name, column in zip(("TEXT_COLUMN", "SECOND_TEXT_COLUMN"), columns) if column}
    source = open_source(path, tuple(wanted.values()), column_names, encoding, quoting)
    found, chosen = choose_columns(source, wanted)
    source.wanted = tuple(found.values())
    told = [*source.format.said, *([chosen] if chosen else [])]
    if told:
        print(f"read as: {', '.join(told)}", file=sys.stderr)
    return source, *source.wanted


def free_names(wanted, taken):
    """The wanted names, each with as many predicted_ before it as it takes to be like no other."""
    taken, free = {name.strip() for name in taken}, []
    for name in wanted:
        while name in taken:
            name = "predicted_" + name
        taken.add(name)
        free.append(name)
    return free


def row_writer(format, header, names, output):
    """Write the header where the format has one; a function that writes a row as it was, the added values behind it."""
    def write_json(original, values):       # the text is kept: numbers, escapes and repeated keys stay as they are
        added = json.dumps(dict(zip(names, values)), ensure_ascii=False)
        begun = original[:-1].rstrip()
        output.write(f"{begun}{'' if begun == '{' else ', '}{added[1:]}\n")

    def write_cells(original, values):
        values = ["" if value is None else value if isinstance(value, str) else f"{value:.4f}" for value in values]
        table.writerow([*original, *[""] * (len(header) - len(original)), *values])

    if format.kind in JSON:
        return write_json
    # The csv module before Python 3.11.9 quotes only those line breaks that its own line end has: it gets both.
    table = csv.writer(SimpleNamespace(write=lambda line: output.write(line[:-2] + "\n")), delimiter=format.delimiter,
                       lineterminator="\r\n")
    table.writerow([*header, *names])
    return write_cells


def chunks(rows, columns):
    """(texts, originals) of up to CHUNK_ROWS rows and about CHUNK_CHARACTERS at a time.

    A row's texts are a tuple with one for each of the columns, '' where there is none.
    """
    texts, originals, characters = [], [], 0
    for _, values, original in rows:
        texts.append(tuple(cell_text(values.get(column)) for column in columns))
        originals.append(original)
        characters += len("".join(original))
        if len(texts) == CHUNK_ROWS or characters > CHUNK_CHARACTERS:
            yield texts, originals
            texts, originals, characters = [], [], 0
    if texts:
        yield texts, originals


def predict_rows(predict, label_names, texts, bar, signals):
    """{row: [label, its probability, each class's probability]} of the rows that have all their texts.

    Raises:
        KeyboardInterrupt: Ctrl-C was noted in signals.
    """
    def after(rows):
        if signals:
            raise KeyboardInterrupt
        bar.update(rows)

    whole = [row for row, of_row in enumerate(texts) if all(of_row)]
    after(len(texts) - len(whole))
    if not whole:
        return {}
    probabilities = predict(*zip(*(texts[row] for row in whole)), after=after)
    return {row: [label_names[best], max(shares), *shares] for row, best, shares in
            zip(whole, probabilities.argmax(axis=1), probabilities.astype(float).round(4).tolist())}
