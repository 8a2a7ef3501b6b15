"""The pictures of a run's page, drawn by matplotlib as SVG: learning curves, calibration, accuracy by length."""

import base64
import gc
import io
import math

from training.report.scores import CONFIDENCE_BINS, wilson

# colours that are told apart by colour-blind readers (Okabe and Ito)
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#999999"

SHOWN_MARKS = 20                # up to so many epochs have a mark each in the learning curves
PICTURE_STYLE = {"font.size": 10, "legend.fontsize": 9, "axes.spines.top": False, "axes.spines.right": False,
                 "axes.grid": True, "grid.color": "#e5e5e5", "axes.axisbelow": True, "lines.markersize": 5,
                 "svg.fonttype": "path", "svg.hashsalt": "run report"}     # the salt: the same figures, the same bytes


def pictures(history, best_epoch, baseline, rows, bins, bands):
    """Name -> data URI of the SVG; a picture without anything to draw is left out."""
    import matplotlib       # here: half a second of start-up, and only a finished epoch draws
    with matplotlib.rc_context(PICTURE_STYLE):
        figures = {"curves": draw_curves(history, best_epoch, baseline, rows), "lengths": draw_lengths(bands)}
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
    confidence, accuracy = [each["confidence"] for each in bins], [each["accuracy"] for each in bins]
    agreement.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="as sure as right")
    agreement.errorbar(confidence, accuracy, reach(accuracy, [each["interval"] for each in bins]), fmt="o-", color=BLUE,
                       elinewidth=1, label="this model, 95 % intervals")
    agreement.set_ylim(-0.02, 1.02)
    agreement.set_ylabel("share right")
    legend_above(agreement)
    counts.bar([each["low"] for each in bins], [each["rows"] for each in bins], width=0.94 / CONFIDENCE_BINS, align="edge",
               color=BLUE, alpha=0.6)
    for each in bins:
        counts.annotate(f"{each['rows']:,}", (each["low"] + 0.5 / CONFIDENCE_BINS, each["rows"]), (0, 2),
                        textcoords="offset points", ha="center", fontsize=8)
    counts.margins(y=0.25)
    counts.set_ylabel("rows")
    counts.set_xlabel("probability of what the model says")
    counts.set_xlim(-0.02, 1.02)
    figure.align_ylabels()
    return figure


def draw_lengths(bands):
    """Accuracy of each band of lengths, with what the largest class makes up there."""
    figure, (axes,) = panels(3.6, (1,))
    places, shares = range(len(bands)), [band["accuracy"] for band in bands]
    rows = sum(band["rows"] for band in bands)
    accuracy = sum(band["rows"] * band["accuracy"] for band in bands) / rows
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


def span(band):
    """The token lengths of a band: 12 or 12–19."""
    return f"{band['low']}" if band["low"] == band["high"] else f"{band['low']}–{band['high']}"
