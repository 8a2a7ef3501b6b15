"""report.html of a training run: one file that opens offline in any browser, and confidently_wrong.csv beside it.

The page is page.html, filled by Jinja2. Only curves, calibration and lengths are drawn by matplotlib, and lie in
the page as SVG; whatever bears texts or class names is HTML, which knows every script and stays sharp on a phone. The
page runs no script and loads nothing, and has the browser see to that (Content-Security-Policy).
"""

import csv
import io
import math
import os
import platform
import statistics
from pathlib import Path

import jinja2
import numpy
from sklearn.metrics import confusion_matrix

from training.encoder.processor import processor_name
from training.files import write_whole
from training.report.drawings import data_uri, finite, pictures, span
from training.report.scores import (calibration, calibration_error, chance_calibration_error, class_scores, confusions,
                                    coverage, length_bands, mean_confidence, most_confidently_wrong, scores,
                                    shown_matrix, tempered)

# what is shown
SHOWN_WRONG = 50                # the most confidently wrong texts, in the page and in the CSV

SHOWN_CHARACTERS = 500          # of such a text in the page; the CSV has all of it
SHOWN_CLASSES = 20              # largest classes in the confusion matrix; the others share a row and a column
SHOWN_CONFUSIONS = 6            # the commonest errors: one class taken for another
SHOWN_NAME = 80                 # characters of a class name
LARGEST_LINK = 1_500_000        # bytes of the CSV inside the page; browsers follow links of about 2 MB
CSV_NAME = "confidently_wrong.csv"
TOLD_ELSEWHERE = {"constants", "label_names", "baseline", "same_class", "validation_texts_in_training",
                  "validation_groups_in_training"}      # facts with a section of their own


def write_run_report(folder, data, history, best, constants, facts, tested=None):
    """Write report.html and confidently_wrong.csv into the run's folder; returns the path of the page.

    Args:
        data: the run's Data; of it names, labels, validation, validation_lengths(), baseline, overlap, warning.
        history: one dict an epoch, as in metrics.jsonl; a figure may be missing or NaN.
        best: "epoch", the number of the epoch that is reported, its "probabilities" [validation rows, classes], each
            row adding up to 1, and the "temperature" that its model predicts with.
        constants: name -> value, as the run used them.
        facts: name -> value, what else config.json tells: encoder, device, rows, versions.
        tested: what test_scores.json holds, where there were test rows.
    """
    folder, names, baseline = Path(folder), list(data.names), data.baseline
    before, labels, lengths = map(numpy.asarray, (best["probabilities"], data.labels, data.validation_lengths()))
    probabilities = tempered(before, best.get("temperature", 1.0))
    predictions, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1).astype(float)
    right, largest = predictions == labels, labels == names.index(baseline.largest_class)
    matrix = confusion_matrix(labels, predictions, labels=range(len(names)))
    seconds = data.validation.seconds
    wrong = [{"line": data.validation.lines[row], "text": data.validation.texts[row],
              "second": seconds[row] if seconds else "", "label": names[labels[row]],
              "predicted": names[predictions[row]], "probability": confidence[row]}
             for row in most_confidently_wrong(confidence, right, SHOWN_WRONG)]
    table = wrong_csv(wrong)
    link = data_uri("text/csv;charset=utf-8", table) if len(table) <= LARGEST_LINK else None
    bins, bands = calibration(confidence, right), length_bands(lengths, right, largest)
    page = template().render(
        folder=folder, path=data.validation.path, counts=data.validation.counts, rows=len(labels), right=int(right.sum()),
        history=history, best_epoch=best["epoch"], lost=epochs_without_loss(history), shared=data.overlap,
        warning=data.warning, tested=tested, baseline=baseline, scores=scores(matrix, baseline, int(largest.sum())),
        matrix=shown_matrix(matrix, names, SHOWN_CLASSES), confusions=confusions(matrix, names, SHOWN_CONFUSIONS),
        classes=class_scores(matrix, names), shown_classes=SHOWN_CLASSES,
        temperature=best.get("temperature", 1.0), coverage=coverage(confidence, right),
        error_before=calibration_error(calibration(before.max(axis=1).astype(float), right)),
        bins=bins, calibration_error=calibration_error(bins), mean_confidence=mean_confidence(bins),
        chance_error=chance_calibration_error(confidence),
        bands=bands, at_limit=int((lengths == constants.get("MAX_LENGTH")).sum()),
        wrong=wrong, shown_characters=SHOWN_CHARACTERS, shown_name=SHOWN_NAME, csv_name=CSV_NAME, csv_link=link,
        constants=constants, facts=told(facts | pace(history) | machine()),
        pictures=pictures(history, best["epoch"], baseline, len(labels), bins, bands))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CSV_NAME, table)
    return write_whole(folder / "report.html", page.encode("utf-8", "replace"))


def wrong_csv(wrong):
    """The errors as bytes of a CSV with an empty column for the right label; the line in the file is their key.

    It begins with a byte order mark, without which Excel does not read UTF-8.
    """
    file = io.StringIO()
    writer = csv.writer(file)
    pairs = any(row["second"] for row in wrong)
    writer.writerow(["line", "text", "label", "predicted", "probability", "corrected", *["second_text"] * pairs])
    for row in wrong:
        writer.writerow([row["line"], harmless(row["text"]), harmless(row["label"]), harmless(row["predicted"]),
                         f"{row['probability']:.4f}", "", *[harmless(row["second"])] * pairs])
    return file.getvalue().encode("utf-8-sig", "replace")


def harmless(cell):
    """The cell as it is; with an apostrophe before it where a spreadsheet would run it as a formula."""
    try:
        float(cell)
        return cell     # a label such as -1
    except ValueError:
        return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def epochs_without_loss(history):
    """The epochs in which a loss came out as NaN or infinite."""
    return [epoch["epoch"] for epoch in history
            if not all(math.isfinite(epoch[name]) for name in ("train_loss", "val_loss") if name in epoch)]


def pace(history):
    """What training took, as the median of the epochs that say."""
    found = {}
    for name, figure in (("seconds_per_epoch", "seconds"), ("training_examples_per_second", "samples_per_second")):
        values = [epoch[figure] for epoch in history if math.isfinite(finite(epoch.get(figure)))]
        if values:
            found[name] = f"{statistics.median(values):,.1f}"
    return found


def template():
    """page.html with the formats that it uses; whatever is put into it is escaped."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"decimals": decimals, "interval": interval, "span": span, "cut": cut, "plain": plain,
                            "count": "{:,}".format}
    return environment.get_template("page.html")


def decimals(value, places=3):
    """0.712; a dash where there is no figure."""
    if value is None or math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:.{places}f}"


def interval(ends, places=3):
    """0.653 to 0.764; nothing where it is not known."""
    return "" if any(map(math.isnan, ends)) else f"{ends[0]:.{places}f} to {ends[1]:.{places}f}"


def cut(text, most):
    return text if len(text) <= most else text[:most].rstrip() + " …"


def plain(value):
    """A setting or a fact as people write it."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(each)}" for name, each in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or "none"
    return {None: "none", "": "empty"}.get(value, str(value))


def told(facts):
    """The facts that have no place of their own in the page: their names as words, counts with thousands marked."""
    return {name.replace("_", " "): f"{value:,}" if type(value) is int else value
            for name, value in facts.items() if name not in TOLD_ELSEWHERE}


def machine():
    """What the run was made on."""
    return {"system": platform.platform(), "processor": f"{processor_name()}, {os.cpu_count()} cores"}
