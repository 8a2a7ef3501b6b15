"""report.html of a training run: one file that opens offline in any browser, and confidently_wrong.csv beside it.

The page is page.html, filled by Jinja2. Only curves, calibration and lengths are drawn by matplotlib, and lie in
the page as SVG; whatever bears texts or class names is HTML, which knows every script and stays sharp on a phone. The
page runs no script and loads nothing, and has the browser see to that (Content-Security-Policy).

Intervals are of 95 %: Wilson's where a score is a share of rows, a bootstrap for macro-F1.
"""

import base64
import csv
import gc
import io
import math
import os
import platform
import statistics
from pathlib import Path

import jinja2
import numpy
from sklearn.metrics import confusion_matrix

from diagnosis.verdict.pictures import BLUE, GREEN, GREY, ORANGE

# what is shown
SHOWN_WRONG = 50                # the most confidently wrong texts, in the page and in the CSV
SHOWN_CHARACTERS = 500          # of such a text in the page; the CSV has all of it
SHOWN_CLASSES = 20              # largest classes in the confusion matrix; the others share a row and a column
SHOWN_CONFUSIONS = 6            # the commonest errors: one class taken for another
SHOWN_MARKS = 20                # up to so many epochs have a mark each in the learning curves
SHOWN_NAME = 80                 # characters of a class name
LARGEST_LINK = 1_500_000        # bytes of the CSV inside the page; browsers follow links of about 2 MB

# how it is measured
Z = 1.959964                    # standard errors to either side of a 95 % interval
CONFIDENCE_BINS = 10            # of equal width, as in Guo et al. 2017, "On Calibration of Modern Neural Networks"
LENGTH_BINS = 6                 # of about equally many texts
MACRO_F1_DRAWS = 1000           # of the bootstrap
CHANCE_DRAWS = 200              # made-up results of a model whose probabilities are exactly right

CSV_NAME = "confidently_wrong.csv"
TOLD_ELSEWHERE = {"constants", "label_names", "baseline", "validation_texts_in_training",
                  "validation_groups_in_training"}      # facts with a section of their own
PICTURE_STYLE = {"font.size": 10, "legend.fontsize": 9, "axes.spines.top": False, "axes.spines.right": False,
                 "axes.grid": True, "grid.color": "#e5e5e5", "axes.axisbelow": True, "lines.markersize": 5,
                 "svg.fonttype": "path", "svg.hashsalt": "run report"}     # the salt: the same figures, the same bytes


def write_run_report(folder, *, history, best_epoch, probabilities, labels, names, validation, lengths, baseline,
                     shared, warning, constants, facts):
    """Write report.html and confidently_wrong.csv into the run's folder; returns the path of the page.

    Args:
        history: one dict an epoch, as in metrics.jsonl; a figure may be missing or NaN.
        best_epoch: the number of the epoch that the probabilities come from.
        probabilities: [validation rows, classes], each row adding up to 1.
        labels: the class number of each validation row.
        names: the class names, in the order of their numbers.
        validation: the validation rows, a training.texts.tables.Table; its path, texts and lines are used.
        lengths: tokens of each validation text, as the model read it.
        baseline: loss, accuracy, largest_class, linear_model, linear_accuracy and linear_macro_f1 on these rows.
        shared: texts and groups, shares of the validation rows that stand in training too (training.texts.tables.Overlap).
        warning: one line where these inflate the scores, else "".
        constants: name -> value, as the run used them.
        facts: name -> value, what else config.json tells: encoder, device, rows, versions.
    """
    folder, names = Path(folder), list(names)
    probabilities, labels, lengths = map(numpy.asarray, (probabilities, labels, lengths))
    predictions, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1).astype(float)
    right, largest = predictions == labels, labels == names.index(baseline.largest_class)
    matrix = confusion_matrix(labels, predictions, labels=range(len(names)))
    wrong = [{"line": validation.lines[row], "text": validation.texts[row], "label": names[labels[row]],
              "predicted": names[predictions[row]], "probability": confidence[row]}
             for row in most_confidently_wrong(confidence, right, SHOWN_WRONG)]
    table = wrong_csv(wrong)
    link = data_uri("text/csv;charset=utf-8", table) if len(table) <= LARGEST_LINK else None
    bins, bands = calibration(confidence, right), length_bands(lengths, right, largest)
    page = template().render(
        folder=folder, path=validation.path, rows=len(labels), right=int(right.sum()),
        history=history, best_epoch=best_epoch, lost=epochs_without_loss(history), shared=shared, warning=warning,
        baseline=baseline, scores=scores(matrix, baseline, int(largest.sum())),
        matrix=shown_matrix(matrix, names, SHOWN_CLASSES), confusions=confusions(matrix, names, SHOWN_CONFUSIONS),
        classes=class_scores(matrix, names), shown_classes=SHOWN_CLASSES,
        bins=bins, calibration_error=calibration_error(bins), mean_confidence=mean_confidence(bins),
        chance_error=chance_calibration_error(confidence),
        bands=bands, at_limit=int((lengths == constants.get("MAX_LENGTH")).sum()),
        wrong=wrong, shown_characters=SHOWN_CHARACTERS, shown_name=SHOWN_NAME, csv_name=CSV_NAME, csv_link=link,
        constants=constants, facts=told(facts | pace(history) | machine()),
        pictures=pictures(history, best_epoch, baseline, len(labels), bins, bands, right.mean()))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CSV_NAME, table)
    return write_whole(folder / "report.html", page.encode("utf-8", "replace"))


# Scores and what they are worth

def wilson(hits, rows):
    """The 95 % interval of a share: from hits of rows, after Wilson 1927; no rows tell nothing."""
    if rows == 0:
        return math.nan, math.nan
    share, spread = hits / rows, Z * Z / rows
    middle = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / rows + spread / (4 * rows)) / (1 + spread)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def macro_f1(hits, given, said):
    """Mean F1 of the classes that occur; hits, rows given and rows said count by class."""
    occurs = given + said > 0
    return (2 * hits[occurs] / (given + said)[occurs]).mean()


def macro_f1_interval(matrix):
    """Bootstrap: drawing the rows anew is drawing the cells of the confusion matrix anew, each by its share.

    Macro-F1 with 1.96 standard errors of the draws to either side, not the draws' own percentiles, for rows drawn twice
    leave out others and so lower the F1 of small classes. Tried on made-up classes, 95 of 100 such intervals held
    the true value with 4 classes in 250 rows, 81 with 200 classes in 3,000 rows; of the percentiles' 94 and 45.
    """
    random = numpy.random.default_rng(0)
    given, said = numpy.nonzero(matrix)
    counts, classes = matrix[given, said], len(matrix)
    drawn = []
    for _ in range(MACRO_F1_DRAWS):
        cells = random.multinomial(counts.sum(), counts / counts.sum())
        drawn.append(macro_f1(numpy.bincount(given, cells * (given == said), classes),
                              numpy.bincount(given, cells, classes), numpy.bincount(said, cells, classes)))
    half = Z * numpy.std(drawn)
    if half == 0:       # all right or all wrong: the draws tell nothing
        return math.nan, math.nan
    middle = macro_f1(matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def scores(matrix, baseline, rows_of_largest):
    """The model and its baselines, each (name, class named, accuracy, its interval, macro-F1, its interval)."""
    rows, right = int(matrix.sum()), int(matrix.trace())
    given, said = matrix.sum(axis=1), matrix.sum(axis=0)
    occurring = numpy.count_nonzero(given) + (rows_of_largest == 0)
    of_largest = 2 * rows_of_largest / (rows + rows_of_largest) / occurring
    unknown = math.nan, math.nan
    return [{"name": "this model", "accuracy": right / rows, "interval": wilson(right, rows),
             "macro_f1": macro_f1(matrix.diagonal(), given, said), "macro_f1_interval": macro_f1_interval(matrix)},
            {"name": baseline.linear_model, "accuracy": baseline.linear_accuracy,
             "interval": wilson(baseline.linear_accuracy * rows, rows), "macro_f1": baseline.linear_macro_f1,
             "macro_f1_interval": unknown},
            {"name": "always", "class": baseline.largest_class, "accuracy": rows_of_largest / rows,
             "interval": wilson(rows_of_largest, rows), "macro_f1": of_largest, "macro_f1_interval": unknown}]


def class_scores(matrix, names):
    """Precision, recall and F1 of every class with their intervals, and the F1 of saying this class always.

    F1 is 2J / (1 + J), where J is the share of hits in the rows that are of the class or said to be; so Wilson's
    interval of J gives that of F1.
    """
    lines = []
    for name, hits, given, said in zip(names, matrix.diagonal().tolist(), matrix.sum(axis=1).tolist(),
                                       matrix.sum(axis=0).tolist()):
        lines.append({"name": name, "rows": given, "said": said,
                      "precision": hits / said if said else math.nan, "precision_interval": wilson(hits, said),
                      "recall": hits / given if given else math.nan, "recall_interval": wilson(hits, given),
                      "f1": 2 * hits / (given + said) if given + said else math.nan,
                      "f1_interval": [2 * end / (1 + end) for end in wilson(hits, given + said - hits)],
                      "f1_always": 2 * given / (int(matrix.sum()) + given)})
    return lines


# The confusion matrix

def shown_matrix(matrix, names, most):
    """Names and rows of cells (count, share of the row) of the largest classes, the others put together.

    Returns a dict: names, lines (name, rows, cells), and others, how many classes were put together.
    """
    if len(names) > most:
        kept = numpy.sort(numpy.argsort(-matrix.sum(axis=1), kind="stable")[:most])
        place = numpy.full(len(names), most)
        place[kept] = numpy.arange(most)
        smaller = numpy.zeros((most + 1, most + 1), dtype=matrix.dtype)
        numpy.add.at(smaller, (place[:, None], place[None, :]), matrix)
        matrix, shown = smaller, [names[number] for number in kept]
    else:
        shown = names
    return {"names": shown, "others": len(names) - len(shown),
            "lines": [{"rows": int(line.sum()),
                       "cells": [{"count": int(count), "share": count / max(line.sum(), 1)} for count in line]}
                      for line in matrix]}


def confusions(matrix, names, most):
    """The commonest errors: (label in the file, what the model says, how often, rows of that label)."""
    errors = matrix - numpy.diag(matrix.diagonal())
    order = numpy.argsort(-errors, axis=None, kind="stable")[:most]
    return [(names[given], names[said], int(errors[given, said]), int(matrix[given].sum()))
            for given, said in zip(*numpy.unravel_index(order, errors.shape)) if errors[given, said]]


# Calibration and length

def calibration(confidence, right):
    """The rows by the probability of what the model says, in bins open below and closed above; empty ones left out.

    A row whose probability is NaN is in none of them.
    """
    edges = numpy.linspace(0, 1, CONFIDENCE_BINS + 1)
    place = numpy.where(numpy.isnan(confidence), -1, numpy.digitize(confidence, edges[1:-1], right=True))
    bins = []
    for number in range(CONFIDENCE_BINS):
        inside = place == number
        if inside.any():
            rows, hits = int(inside.sum()), int(right[inside].sum())
            bins.append({"low": edges[number], "high": edges[number + 1], "rows": rows, "accuracy": hits / rows,
                         "interval": wilson(hits, rows), "confidence": confidence[inside].mean()})
    return bins


def calibration_error(bins):
    """Expected calibration error: how far confidence and accuracy lie apart in a bin, averaged over the rows."""
    rows = sum(one["rows"] for one in bins)
    return sum(one["rows"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / rows if rows else math.nan


def mean_confidence(bins):
    rows = sum(one["rows"] for one in bins)
    return sum(one["rows"] * one["confidence"] for one in bins) / rows if rows else math.nan


def chance_calibration_error(confidence):
    """The error that a model with exactly these probabilities, all of them right, stays below 19 times in 20."""
    random = numpy.random.default_rng(0)
    confidence = confidence[~numpy.isnan(confidence)]
    if not len(confidence):
        return math.nan
    return numpy.quantile([calibration_error(calibration(confidence, random.random(len(confidence)) < confidence))
                           for _ in range(CHANCE_DRAWS)], 0.95)


def length_bands(lengths, right, largest):
    """Accuracy by token length, in bands of about equally many texts; largest marks the rows of the largest class."""
    upper = numpy.unique(numpy.quantile(lengths, numpy.arange(1, LENGTH_BINS + 1) / LENGTH_BINS, method="inverted_cdf"))
    place = numpy.searchsorted(upper, lengths)
    bands = []
    for number in range(len(upper)):
        inside = place == number
        rows, hits = int(inside.sum()), int(right[inside].sum())
        bands.append({"low": int(lengths[inside].min()), "high": int(lengths[inside].max()), "rows": rows,
                      "accuracy": hits / rows, "interval": wilson(hits, rows), "always": largest[inside].mean()})
    return bands


# The most confidently wrong

def most_confidently_wrong(confidence, right, most):
    """Row numbers of errors, the highest probability first."""
    errors = numpy.flatnonzero(~right & ~numpy.isnan(confidence))
    return errors[numpy.argsort(-confidence[errors], kind="stable")][:most].tolist()


def wrong_csv(wrong):
    """The errors as bytes of a CSV with an empty column for the right label; the line in the file is their key.

    It begins with a byte order mark, without which Excel does not read UTF-8.
    """
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["line", "text", "label", "predicted", "probability", "corrected"])
    for row in wrong:
        writer.writerow([row["line"], harmless(row["text"]), harmless(row["label"]), harmless(row["predicted"]),
                         f"{row['probability']:.4f}", ""])
    return file.getvalue().encode("utf-8-sig", "replace")


def harmless(cell):
    """The cell as it is; with an apostrophe before it where a spreadsheet would run it as a formula."""
    try:
        float(cell)
        return cell     # a label such as -1
    except ValueError:
        return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


# The epochs

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


# Pictures

def pictures(history, best_epoch, baseline, rows, bins, bands, accuracy):
    """Name -> data URI of the SVG; a picture without anything to draw is left out."""
    import matplotlib
    with matplotlib.rc_context(PICTURE_STYLE):
        figures = {"curves": draw_curves(history, best_epoch, baseline, rows), "lengths": draw_lengths(bands, accuracy)}
        if bins:
            figures["calibration"] = draw_calibration(bins)
        uris = {name: svg_uri(figure) for name, figure in figures.items()}
    figures.clear()
    gc.collect()        # matplotlib's figures refer to themselves: 20 MB would lie about until Python looks
    return uris


def panels(height, shares):
    """A figure of a phone's width without a screen, its panels above one another on the same x axis."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(4.6, height), layout="constrained")
    return figure, figure.subplots(len(shares), 1, sharex=True, height_ratios=shares, squeeze=False)[:, 0]


def legend_above(axes):
    axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 1), borderaxespad=0.2,
                handlelength=1.8, columnspacing=1.4)


def svg_uri(figure):
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return data_uri("image/svg+xml", file.getvalue())


def data_uri(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def finite(value):
    """The value as matplotlib can draw it: a gap where it is missing, infinite or NaN."""
    return value if value is not None and math.isfinite(value) else math.nan


def reach(shares, intervals):
    """The distances from shares to the ends of their intervals, as matplotlib wants its error bars."""
    return [[max(share - low, 0) for share, (low, _) in zip(shares, intervals)],
            [max(high - share, 0) for share, (_, high) in zip(shares, intervals)]]


def draw_curves(history, best_epoch, baseline, rows):
    """Losses with the loss of guessing, scores with their baselines, and the rate, over the epochs."""
    from matplotlib.ticker import MaxNLocator
    figure, (losses, scored, rates) = panels(6.8, (3, 3, 1.1))
    epochs = [epoch["epoch"] for epoch in history]
    circles, squares = ("o-", "s-") if len(history) <= SHOWN_MARKS else ("-", "-")

    def course(name):
        return [finite(epoch.get(name)) for epoch in history]

    losses.plot(epochs, course("train_loss"), circles, color=BLUE, label="training loss")
    losses.plot(epochs, course("val_loss"), squares, color=ORANGE, label="validation loss")
    losses.axhline(finite(baseline.loss), color=GREY, linestyle="--", label="guessing by class frequency")
    losses.set_ylabel("loss")

    accuracy = course("val_acc")
    scored.plot(epochs, accuracy, circles, color=BLUE, label="accuracy, 95 % interval")
    scored.errorbar(epochs, accuracy, reach(accuracy, [wilson(share * rows, rows) for share in accuracy]), fmt="none",
                    ecolor=BLUE, elinewidth=1)
    scored.plot(epochs, course("val_macro_f1"), squares, color=ORANGE, label="macro-F1")
    scored.axhline(baseline.accuracy, color=GREY, linestyle="--", label="always the largest class")
    scored.axhline(baseline.linear_accuracy, color=BLUE, linestyle="--", linewidth=1, label="LinearSVC accuracy")
    scored.axhline(baseline.linear_macro_f1, color=ORANGE, linestyle="--", linewidth=1, label="LinearSVC macro-F1")
    scored.set_ylabel("on validation")

    rates.plot(epochs, course("lr"), circles, color=GREEN)
    rates.set_ylabel("rate")
    rates.set_ylim(bottom=0)
    rates.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    rates.set_xlabel("epoch")
    rates.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    rates.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (losses, scored, rates):
        axes.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1.2, zorder=0,
                     label="epoch reported here" if axes is losses else None)
    legend_above(losses)
    legend_above(scored)
    figure.align_ylabels()
    return figure


def draw_calibration(bins):
    """Accuracy against confidence with the line on which both agree, and the rows of each bin below."""
    figure, (agreement, counts) = panels(5.2, (3, 1))
    confidence, accuracy = [one["confidence"] for one in bins], [one["accuracy"] for one in bins]
    agreement.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="as sure as right")
    agreement.errorbar(confidence, accuracy, reach(accuracy, [one["interval"] for one in bins]), fmt="o-", color=BLUE,
                       elinewidth=1, label="this model, 95 % intervals")
    agreement.set_ylim(-0.02, 1.02)
    agreement.set_ylabel("share right")
    legend_above(agreement)
    counts.bar([one["low"] for one in bins], [one["rows"] for one in bins], width=0.94 / CONFIDENCE_BINS, align="edge",
               color=BLUE, alpha=0.6)
    for one in bins:
        counts.annotate(f"{one['rows']:,}", (one["low"] + 0.5 / CONFIDENCE_BINS, one["rows"]), (0, 2),
                        textcoords="offset points", ha="center", fontsize=8)
    counts.margins(y=0.25)
    counts.set_ylabel("rows")
    counts.set_xlabel("probability of what the model says")
    counts.set_xlim(-0.02, 1.02)
    figure.align_ylabels()
    return figure


def draw_lengths(bands, accuracy):
    """Accuracy of each band of lengths, with what the largest class makes up there."""
    figure, (axes,) = panels(3.6, (1,))
    places, shares = range(len(bands)), [band["accuracy"] for band in bands]
    axes.axhline(accuracy, color=BLUE, linewidth=1, alpha=0.5, label="accuracy of all rows")
    axes.errorbar(places, shares, reach(shares, [band["interval"] for band in bands]), fmt="o", color=BLUE,
                  elinewidth=1, label="95 % interval")
    axes.plot(places, [band["always"] for band in bands], "_", color=GREY, markersize=22, markeredgewidth=2,
              label="always the largest class")
    axes.set_xticks(places, [span(band) for band in bands])
    axes.set_xlim(-0.5, len(bands) - 0.5)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("tokens")
    axes.set_ylabel("accuracy")
    legend_above(axes)
    return figure


# The page

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


def span(band):
    """The token lengths of a band: 12 or 12–19."""
    return f"{band['low']}" if band["low"] == band["high"] else f"{band['low']}–{band['high']}"


def cut(text, most):
    return text if len(text) <= most else text[:most].rstrip() + " …"


def plain(value):
    """A setting or a fact as people write it."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(one)}" for name, one in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or "none"
    return {None: "none", "": "empty"}.get(value, str(value))


def told(facts):
    """The facts that have no place of their own in the page: their names as words, counts with thousands marked."""
    return {name.replace("_", " "): f"{value:,}" if type(value) is int else value
            for name, value in facts.items() if name not in TOLD_ELSEWHERE}


def machine():
    """What the run was made on."""
    return {"system": platform.platform(), "processor": f"{processor()}, {os.cpu_count()} cores"}


def processor():
    """The processor's name; Python knows it on few systems, Linux tells it in a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write_whole(path, content):
    """Write the file beside its place, then move it there: whoever looks sees the old one or the new one."""
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(content)
    os.replace(beside, path)
    return path
