"""A table scored: the same rows with the predictions as further columns."""

import csv
import json
import sys
from types import SimpleNamespace

import torch
from tqdm.auto import tqdm

from training.texts.reading import cell_text, delimiter_of, stream_rows

# A table is scored in chunks that end at whichever comes first, so that memory does not grow with the table.
CHUNK_ROWS = 4096               # texts of like length are found among so many

CHUNK_CHARACTERS = 16_000_000   # 64 MB at most


def score_table(model, path, output, text_column="text", column_names=(), batch_size=64, signals=()):
    """Write a table with the predictions as further columns to an open text file; (rows with text, rows).

    Raises:
        TableError: the table cannot be read; the chunks above the fault are written.
    """
    rows = stream_rows(path, [text_column], column_names)
    _, values, header = next(rows)
    wanted = ["label", "probability", *model.label_names]
    if values is not None:      # JSON: any row may hold one of the names, so all are looked at first
        header = {key for _, values, _ in stream_rows(path, [text_column]) for key in values
                  if key.endswith(tuple(wanted))}
        rows = stream_rows(path, [text_column])
    names = free_names(wanted, header)
    if names != wanted:
        renamed = ", ".join(name for name, asked in zip(names, wanted) if name != asked)
        print(f"columns of these names are there already, so those added are called {renamed}", file=sys.stderr)
    write = row_writer(path, header, names, output)
    scored = total = 0
    with tqdm(unit=" rows", disable=None) as bar:
        for texts, originals in chunks(rows, text_column):
            results = predict_rows(model, texts, batch_size, bar, signals)
            for row, original in enumerate(originals):
                write(original, results.get(row, [None] * len(names)))
            output.flush()
            scored, total = scored + len(results), total + len(originals)
    return scored, total


def free_names(wanted, taken):
    """The wanted names, each with as many predicted_ before it as it takes to be like no other."""
    taken, free = {name.strip() for name in taken}, []
    for name in wanted:
        while name in taken:
            name = "predicted_" + name
        taken.add(name)
        free.append(name)
    return free


def row_writer(path, header, names, output):
    """Write the header where the format has one; a function that writes a row as it was, the added values behind it."""
    delimiter = delimiter_of(path)

    def write_json(original, values):       # the text is kept: numbers, escapes and repeated keys stay as they are
        added = json.dumps(dict(zip(names, values)), ensure_ascii=False)
        begun = original[:-1].rstrip()
        output.write(f"{begun}{'' if begun == '{' else ', '}{added[1:]}\n")

    def write_cells(original, values):
        values = ["" if value is None else value if isinstance(value, str) else f"{value:.4f}" for value in values]
        table.writerow([*original, *[""] * (len(header) - len(original)), *values])

    if delimiter is None:
        return write_json
    # The csv module before Python 3.11.9 quotes only those line breaks that its own line end has: it gets both.
    table = csv.writer(SimpleNamespace(write=lambda line: output.write(line[:-2] + "\n")), delimiter=delimiter,
                       lineterminator="\r\n")
    table.writerow([*header, *names])
    return write_cells


def chunks(rows, text_column):
    """(texts, originals) of up to CHUNK_ROWS rows and about CHUNK_CHARACTERS at a time; '' where a row has no text."""
    texts, originals, characters = [], [], 0
    for _, values, original in rows:
        texts.append(cell_text(values.get(text_column)))
        originals.append(original)
        characters += len("".join(original))
        if len(texts) == CHUNK_ROWS or characters > CHUNK_CHARACTERS:
            yield texts, originals
            texts, originals, characters = [], [], 0
    if texts:
        yield texts, originals


def predict_rows(model, texts, batch_size, bar, signals):
    """{row: [label, its probability, each class's probability]} of the rows that have a text.

    Raises:
        KeyboardInterrupt: Ctrl-C was noted in signals.
    """
    device = model.device()
    order = sorted((row for row, text in enumerate(texts) if text), key=lambda row: len(texts[row]))
    bar.update(len(texts) - len(order))
    results = {}
    for start in range(0, len(order), batch_size):      # batch by batch, or the bar would stand still for minutes
        if signals:
            raise KeyboardInterrupt
        rows = order[start:start + batch_size]
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            labels, probabilities = model.predict([texts[row] for row in rows], batch_size)
        for row, label, shares in zip(rows, labels, probabilities.astype(float).round(4).tolist()):
            results[row] = [label, max(shares), *shares]
        bar.update(len(rows))
    return results
