"""The two pictures of a report: gradient norm by layer, and the learning rate over the whole run.

matplotlib is imported where something is drawn: it takes a second, and a look before training draws nothing.
"""

from pathlib import Path

from diagnosis.verdict import course
from diagnosis.verdict.tables import FEW, first_median_last, number, part_gradients, parts

# colours that are told apart by colour-blind readers (Okabe and Ito)
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"


def _figure(width, height):
    """A figure without a screen, whatever backend the environment asks for."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _say(axes, text):
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)


def _decades(axes):
    """Ticks of a logarithmic axis as plain numbers: all of 1, 2, 5, or the decades alone where these would crowd."""
    from matplotlib.ticker import FuncFormatter
    low, high = axes.get_ylim()
    wanted = ("1", "2", "5") if high / low < 1e3 else ("1",)
    return FuncFormatter(lambda value, _: number(value, 3) if f"{value:.0e}"[0] in wanted else "")


def gradient_flow(record, path):
    """Gradient norm of every part of the model at the first, the median and the last step; frozen parts shaded."""
    found = parts(record)
    norms = {part: first_median_last(part_gradients(parameters)) for part, parameters in found.items()}
    figure, axes = _figure(max(7, 0.6 * len(found) + 2), 4.5)
    if not found:
        _say(axes, "no optimizer step was seen")
    else:
        names = list(found)
        for i, (label, colour, marker) in enumerate((("first step", ORANGE, "o"), ("median", BLUE, "s"),
                                                     ("last step seen", GREEN, "^"))):
            values = [norms[name][i] if norms[name][i] else float("nan") for name in names]
            axes.plot(range(len(names)), values, marker=marker, color=colour, label=label, markersize=5, linewidth=1.2)
        if any(value for three in norms.values() for value in three):
            axes.set_yscale("log")
            for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                which(_decades(axes))
        _mark_parts(axes, found, norms)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylabel("gradient norm of the part")
        low, high = axes.get_ylim()
        axes.grid(axis="y", which="both" if high < 1e3 * low else "major", color="#e5e5e5", zorder=0)
        axes.legend(frameon=False, ncols=5, loc="lower left", bbox_to_anchor=(0, 1), fontsize=9)
    figure.suptitle(f"gradient by layer: {Path(record.target).name}", x=0.02, ha="left", fontsize=11)
    figure.savefig(path)


def _mark_parts(axes, found, norms):
    """Grey behind frozen parts, red behind trainable ones that got no gradient."""
    seen = set()
    for i, (name, parameters) in enumerate(found.items()):
        trainable = any(parameter.trainable for parameter in parameters)
        if trainable and any(norms[name]):
            continue
        label, colour, alpha = ("trainable, without gradient", RED, 0.3) if trainable else ("frozen", GREY, 0.25)
        axes.axvspan(i - 0.5, i + 0.5, color=colour, alpha=alpha, linewidth=0,
                     label=None if label in seen else label)
        seen.add(label)


def learning_rate(record, path):
    """The rate of every group over the whole run: as the schedule was meant, as it is stepped, and as observed."""
    figure, axes = _figure(8, 4.5)
    steps = [step for step in record.steps if step.rates]
    total = int(course.planned_updates(record) or 0) or (steps[-1].index + 1 if steps else 0)
    if not steps:
        _say(axes, "no optimizer step was seen")
    else:
        meant, stepped = as_meant(record, total), as_stepped(record, total)
        differ = bool(meant) and meant != stepped
        if differ:
            _lines(axes, meant, GREY, "--", "as meant: one schedule step for each optimizer step")
        _lines(axes, stepped, BLUE, "-", "as this script steps it" if record.schedules else "no schedule: constant")
        _observed(axes, steps)
        axes.set_xlabel("optimizer step" + (f" (of {number(total)} planned)" if record.plan.steps else ""))
        axes.set_ylabel("learning rate")
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=-0.01 * total)
        axes.yaxis.set_major_formatter(lambda value, _: number(value, 3))
        axes.grid(color="#e5e5e5")
        axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), fontsize=9)
    figure.suptitle(f"learning rate: {Path(record.target).name}", x=0.02, ha="left", fontsize=11)
    figure.savefig(path)


def as_meant(record, total):
    """Rates of each group at each step if the schedule moved with every optimizer step; [] where it is not meant to.

    Returns a list of (group's base rate, its rates).
    """
    return [line for schedule in record.schedules if course.counts_updates(record, schedule)
            for line in _rates(schedule, range(total))]


def as_stepped(record, total):
    """The same as this script will step it; [] where that is not known. Without a schedule the rates as first seen."""
    if not record.schedules:
        return [(rate, [rate] * total) for rate in next(step.rates for step in record.steps if step.rates)]
    return [line for schedule in record.schedules for line in _rates(schedule, calls_before(schedule, record, total))]


def calls_before(schedule, record, total):
    """How often the schedule will have moved before each optimizer step of the run; [] where unknown."""
    pace, per_epoch = course.pace(record, schedule), course.updates_per_epoch(record)
    if pace is None or (pace.kind == "epoch" and not per_epoch):
        return []
    per_step = {"never": 0.0, "step": pace.per_update, "epoch": 1 / (per_epoch or 1)}[pace.kind]
    return [int(step * per_step + 1e-9) for step in range(total)]


def _rates(schedule, places):
    factors = [course.factor_at(schedule, place) for place in places]
    return [(base, [base * factor for factor in factors]) for base in schedule.base_rates
            if factors and factors[0] is not None]


def _lines(axes, lines, colour, style, label):
    """One line for each group, or a few of many: the lowest, the middle and the highest base rate."""
    lines = sorted(lines, key=lambda line: line[0])
    shown = lines if len(lines) <= FEW else [lines[0], lines[len(lines) // 2], lines[-1]]
    more = f" ({len(lines)} groups, {len(shown)} drawn)" if len(shown) < len(lines) else ""
    for i, (_, rates) in enumerate(shown):
        axes.plot(range(len(rates)), rates, color=colour, linestyle=style, linewidth=1.6,
                  label=label + more if i == 0 else None)


def _observed(axes, steps):
    groups = len(steps[0].rates)
    for group in range(groups) if groups <= FEW else (0, groups // 2, groups - 1):
        points = [(step.index, step.rates[group]) for step in steps if group < len(step.rates)]
        axes.plot(*zip(*points), ".", color=RED, markersize=5, zorder=3, clip_on=False,
                  label="observed" if group == 0 else None)
