"""A table scored: the same rows with the predictions as further columns."""

import csv
import json
import sys
from types import SimpleNamespace

import torch
from tqdm.auto import tqdm

from training.texts.columns import choose_columns
from training.texts.reading import cell_text, open_source, stream_rows

# A table is scored in chunks that end at whichever comes first, so that memory does not grow with the table.
CHUNK_ROWS = 4096               # texts of like length are found among so many

CHUNK_CHARACTERS = 16_000_000   # 64 MB at most

JSON = ("json", "list")         # kinds of format; both are written as JSON lines


def score_table(model, source, output, columns=("text",), batch_size=64, signals=(), unsure_below=0.0):
    """Write a table with the predictions as further columns to an open text file; (rows with text, rows).

    Args:
        source, columns: the table and its columns of texts, from open_to_score().
        unsure_below: where this is not 0, a last column says "unsure" of labels whose probability is lower.

    Raises:
        TableError: the table cannot be read; the chunks above the fault are written.
    """
    rows = stream_rows(source)
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
            results = predict_rows(model, texts, batch_size, bar, signals)
            for row, original in enumerate(originals):
                values = results.get(row, [None] * len(names))
                if unsure_below and row in results:
                    values.append("unsure" if values[1] < unsure_below else None)
                write(original, values)
            output.flush()
            scored, total = scored + len(results), total + len(originals)
    return scored, total


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


def predict_rows(model, texts, batch_size, bar, signals):
    """{row: [label, its probability, each class's probability]} of the rows that have all their texts.

    Raises:
        KeyboardInterrupt: Ctrl-C was noted in signals.
    """
    device = model.device()
    order = sorted((row for row, of_row in enumerate(texts) if all(of_row)), key=lambda row: sum(map(len, texts[row])))
    bar.update(len(texts) - len(order))
    results = {}
    for start in range(0, len(order), batch_size):      # batch by batch, or the bar would stand still for minutes
        if signals:
            raise KeyboardInterrupt
        rows = order[start:start + batch_size]
        first, *second = map(list, zip(*(texts[row] for row in rows)))
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            labels, probabilities = model.predict(first, batch_size, *second)
        for row, label, shares in zip(rows, labels, probabilities.astype(float).round(4).tolist()):
            results[row] = [label, max(shares), *shares]
        bar.update(len(rows))
    return results
