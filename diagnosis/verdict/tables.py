"""The figures of a run as tables: checks, gradient by layer, encoding, one pass, optimizer, schedule, controls."""

import itertools
import re
import statistics
import textwrap
from collections import Counter
from dataclasses import dataclass, field

from diagnosis.faults import catalogue
from diagnosis.record.arithmetic import chance_loss, rounded
from diagnosis.record.record import place
from diagnosis.verdict import course
from diagnosis.verdict.measures import known_training_labels
from diagnosis.verdict.scored import scores

NUMERIC = re.compile(r"|-|frozen|-?[\d,.]+(e[+-]?\d+)?%?")      # cells of a column that stands to the right
FEW = 6                 # values of a list, groups of an optimizer: more are summed up


@dataclass
class Listing:
    """One table of the report: cells as text, and notes to stand under it."""
    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


# numbers and places as text


def number(value, digits=4):
    """12,345 or 0.1235 or 5e-05; '-' where there is none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and 1000 <= abs(value) < 1e9 else f"{value:.{digits}g}"
    return str(value)


def percentage(part, whole):
    return f"{part / whole:.1%}" if whole else "-"


# Figures of the controls whose names say too little to somebody who reads them for the first time; in their order.
SPELLED = {"permuted_accuracy": "with labels shuffled", "permuted_spread": "its standard deviation",
           "paired_loss": "loss with each text's own label", "mismatched_loss": "with labels swapped",
           "mismatched_spread": "its standard deviation", "spreads_below": "standard deviations below that",
           "majority": "always the largest class", "guess_loss": "loss of guessing"}


def readable(value):
    """One measured value as short text: long lists are summed up, names lose their underscores."""
    if isinstance(value, dict):
        spelled = {name: SPELLED.get(name, str(name).replace("_", " ")) for name in value}
        return ", ".join(f"{spelled[name]} {readable(part)}" for name, part in value.items())
    if not isinstance(value, (list, tuple)):
        return number(value)
    flat = not any(isinstance(part, (list, tuple, dict)) for part in value)
    if flat and len(value) > 2 and len(set(value)) == 1:
        return f"{number(value[0])} at all {len(value)}"
    texts = [readable(part) if flat else f"({readable(part)})" for part in value]
    if len(texts) > FEW:
        texts = texts[:FEW - 1] + ["...", texts[-1], f"({len(value)} in all)"]
    return ", ".join(texts) or "none"


def plain(table, width):
    """The table as aligned lines of text, long cells wrapped; columns of numbers stand to the right."""
    rows = [[str(cell) for cell in row] for row in table.rows]
    header = [table.columns] if any(table.columns) else []
    widths = fitting([max(len(row[i]) for row in header + rows) for i in range(len(table.columns))], width)
    right = [i > 0 and all(NUMERIC.fullmatch(row[i]) for row in rows) for i in range(len(widths))]
    lines = [table.title]
    for row in header + rows:
        cells = [[cell] if len(cell) <= size else textwrap.wrap(cell, size, break_on_hyphens=False)
                 for cell, size in zip(row, widths)]
        for pieces in itertools.zip_longest(*cells, fillvalue=""):
            lines.append("  " + "  ".join(text.rjust(size) if numeric else text.ljust(size)
                                          for text, size, numeric in zip(pieces, widths, right)))
    for note in table.notes:
        lines += textwrap.wrap(note, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    return [line.rstrip() for line in lines]


def fitting(widths, width):
    """Widths of the columns for a line of so many characters: the widest are narrowed, to a third of it at least."""
    widths = list(widths)
    while sum(widths) + 2 * len(widths) > width and max(widths) > width // 3:
        widest = widths.index(max(widths))
        widths[widest] = max(widths[widest] - (sum(widths) + 2 * len(widths) - width), width // 3)
    return widths


def markdown(table):
    def row(cells):
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
    lines = [f"### {table.title}", "", row(table.columns), row(["---"] * len(table.columns))]
    lines += [row(cells) for cells in table.rows]
    return lines + [line for note in table.notes for line in ("", note)] + [""]


def checked(judgement):
    """Two tables: what passed, by group, and what was not checked, by reason."""
    passed, reasons = {}, {}
    faults = catalogue()
    for name in judgement.passed:
        passed.setdefault(faults[name].GROUP, []).append(name)
    for name, reason in judgement.not_checked:
        reasons.setdefault(reason, []).append(name)
    made = len(judgement.passed) + len(judgement.findings)
    late = f"; out of time: {', '.join(judgement.out_of_time)}" if judgement.out_of_time else ""
    both = (Listing(f"checked and passed: {len(judgement.passed)} of {made} checks made{late}", ["", ""],
                    [[group, ", ".join(names)] for group, names in passed.items()]),
            Listing(f"not checked: {len(judgement.not_checked)}", ["", ""],
                    [[", ".join(names), reason] for reason, names in reasons.items()]))
    return [table for table in both if table.rows]


# the tables of a record; each is None where nothing of it was seen


def own_score(record):
    """The doctor's own validation score beside the script's, of the same rows; None where it could not be had."""
    both = scores(record)
    if both is None:
        return None
    rows = []
    for name, score in (("the doctor's own", both["own"]), ("the script's", both["script"])):
        if score is None:
            rows.append([name, "-", "-", "-", "what it compared was not seen"])
            continue
        where = score.get("where")
        by = " ".join(filter(None, [score.get("by"), where and f"{where['file']}:{where['line']}"]))
        rows.append([name, number(score["accuracy"], 3), number(score["macro_f1"], 3), number(score["rows"]), by])
    return Listing("validation score", ["", "accuracy", "macro F1", "rows", ""], rows,
                   [f"always the largest class: {number(both['own']['largest_class'], 3)}"])


def figures(record):
    """The tables that say what the run is and does, those with nothing in them left out."""
    made = (gradient_flow(record), one_step(record), encoding(record), examples(record), optimizer(record),
            schedules(record), run(record))
    return [table for table in made if table is not None and table.rows]


def parts(record):
    """The parameters by part of the model, in the model's order."""
    found = {}
    for parameter in record.parameters:
        found.setdefault(parameter.part, []).append(parameter)
    order = {"embeddings": 0, "pooler": 3, "head": 4}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], 1 if item[0].startswith("layer ") else 2)))


def weights_in(parameters):
    """How many weights they hold together."""
    return sum(parameter.elements for parameter in parameters)


def part_gradients(parameters):
    """The gradient norm of a part at each measured step; None at steps at which none of it had a gradient."""
    steps = max((len(parameter.gradient_norms) for parameter in parameters), default=0)
    norms = []
    for step in range(steps):
        seen = [parameter.gradient_norms[step] for parameter in parameters
                if step < len(parameter.gradient_norms) and parameter.gradient_norms[step] is not None]
        norms.append(sum(norm ** 2 for norm in seen) ** 0.5 if seen else None)
    return norms


def first_median_last(values):
    seen = [value for value in values if value is not None]
    return (seen[0], statistics.median(seen), seen[-1]) if seen else (None, None, None)


def gradient_flow(record):
    """Weights, trained weights, gradient and change of every part; frozen neighbours share a row."""
    rows = []
    for part, parameters in parts(record).items():
        trained = [parameter for parameter in parameters if parameter.trainable]
        first, middle, last = first_median_last(part_gradients(parameters))
        change = [parameter.change for parameter in trained if parameter.change is not None]
        norm = [parameter.norm_first for parameter in trained if parameter.norm_first is not None]
        moved = sum(x * x for x in change) ** 0.5 / (sum(x * x for x in norm) ** 0.5 or 1) if change and norm else None
        rows.append([part, weights_in(parameters), weights_in(trained), first, middle, last, moved])
    total = [sum(row[1] for row in rows), sum(row[2] for row in rows)]
    rows = merged_frozen(rows)
    return Listing("gradient by layer",
                 ["part", "weights", "trained", "gradient", "median", "last", "change"],
                 [[row[0], number(row[1]), number(row[2]) if row[2] else "frozen", *(number(x, 3) for x in row[3:])]
                  for row in rows] + ([["all", *map(number, total), "", "", "", ""]] if rows else []),
                 [f"gradient: its norm at the first step, the median of all and the last{after_clipping(record)}; "
                  "change: norm of the trained weights' change by all steps seen over their own norm"])


def after_clipping(record):
    return ", as clipping left it" if clipped(record) else ""


def merged_frozen(rows):
    """Consecutive layers without anything trained as one row: 'layer 0 to layer 8'."""
    merged = []
    for row in rows:
        before = merged[-1] if merged else None
        if before and not row[2] and not before[2] and row[3] is None and before[3] is None:
            merged[-1] = [f"{before[0].split(' to ')[0]} to {row[0]}", before[1] + row[1], 0, None, None, None, None]
        else:
            merged.append(row)
    return merged


def one_step(record):
    """One forward and backward pass, with shapes, and the loss beside the loss of guessing."""
    batch = next(iter(record.batches_of("training")), None)
    if batch is None:
        return None
    mask = {True: "with attention mask", False: "no attention mask", None: None}[batch.mask_given]
    tokens = ", ".join(filter(None, [batch.real_tokens is not None and f"{number(batch.real_tokens)} tokens",
                                     batch.padding is not None and f"{number(batch.padding)} padding", mask]))
    names = {True: "training", False: "eval()", None: "unknown"}
    losses = [step.loss for step in record.steps if step.loss is not None]
    first = batch.loss if batch.loss is not None else next(iter(losses), None)
    labels, _ = known_training_labels(record)
    guess = chance_loss(labels) if labels else None
    rows = [["input", f"{batch.rows} x {number(batch.width)}" + (f": {tokens}" if tokens else "")],
            ["logits", f"{batch.rows} x {number(batch.outputs)}"],
            ["loss", " ".join(filter(None, [batch.loss_function or "the model's own", place(batch.site)]))],
            ["first loss", f"{number(first)}; guessing by class frequency costs {number(guess)}"],
            ["mode", f"encoder {names[batch.encoder_training]}, model {names[batch.head_training]}"]]
    gradients = [norm for norm in map(norm_before_clipping, record.steps) if norm is not None]
    if gradients:
        rows.append(["gradient", f"norm {number(gradients[0], 3)} at the first step, {number(gradients[-1], 3)} at the "
                                 f"last{clipped(record)}"])
    if losses:
        tenth = losses[-max(len(losses) // 10, 1):]
        rows.append(["loss seen", f"{number(losses[0])} at the first step, {number(statistics.fmean(tenth))} over the "
                                  f"last {len(tenth)} of {len(losses)}"])
    return Listing("one forward and backward pass", ["", ""], rows)


def norm_before_clipping(step):
    """The norm that backward left, where clipping measured it before the optimizer saw what remained."""
    clip = step.clip
    if clip is None or clip.kind != "norm" or clip.norm_before is None or clip.scaled:
        return step.gradient_norm
    return max(clip.norm_before, step.gradient_norm or 0.0)


def clipped(record):
    """', before clipping to 1' where any step is clipped; '' elsewhere."""
    limits = {step.clip.limit for step in record.steps if step.clip is not None}
    return f", before clipping to {', '.join(number(limit) for limit in sorted(limits))}" if limits else ""


def lengths(values):
    ordered = sorted(values)
    return (f"{ordered[0]} to {ordered[-1]} tokens, median {number(float(statistics.median(ordered)))}, "
            f"95 % up to {ordered[int(0.95 * (len(ordered) - 1))]}")


def encoding(record):
    """Rows, labels, lengths, truncation and unknown tokens."""
    rows, tokenizer = [], record.tokenizer
    for name, split in (("training", record.training), ("validation", record.validation)):
        if split is None or (split.rows is None and not split.labels):
            continue
        loader = f", batches of {split.batch_size}" if split.batch_size else ""
        order = {True: ", shuffled", False: ", not shuffled", None: ""}[split.shuffled]
        rows.append([name, f"{number(split.rows)} rows{loader}{order}"])
        counts = Counter(split.labels or split.order_labels)
        total = sum(counts.values())
        shown = [f"{label}: {number(count)} ({percentage(count, total)})" for label, count in sorted(counts.items())]
        if shown:
            seen = f" of {number(total)} rows looked at" if total != split.rows else ""
            rows.append(["  labels", ", ".join(shown[:2 * FEW] + ["..."] * (len(shown) > 2 * FEW)) + seen])
    if tokenizer:
        size = f", {number(tokenizer.vocabulary_size)} tokens" if tokenizer.vocabulary_size else ""
        rows.append(["tokenizer", " ".join(filter(None, [tokenizer.kind, tokenizer.name])) + size])
    kept = tokenizer.kept_lengths if tokenizer else []
    kept = kept or [len(ids) for ids in record.training.examples if ids]
    if kept:
        rows.append(["lengths", lengths(kept)])
    if tokenizer and tokenizer.full_lengths:
        pairs = list(zip(tokenizer.full_lengths, tokenizer.kept_lengths))
        cut = sum(full > short for full, short in pairs)
        limit = f" at {tokenizer.max_length} tokens" if tokenizer.max_length else ""
        rows.append(["truncated", f"{percentage(cut, len(pairs))} of {number(len(pairs))} sampled texts{limit}; "
                                  f"in full {lengths(tokenizer.full_lengths)}"])
    batches = [batch for batch in record.batches_of("training") if batch.unknown is not None and batch.real_tokens]
    if batches:
        unknown, tokens = sum(batch.unknown for batch in batches), sum(batch.real_tokens for batch in batches)
        rows.append(["unknown", f"{percentage(unknown, tokens)} of the tokens of the batches seen"])
    return Listing("how the data is encoded", ["", ""], rows) if rows else None


def examples(record):
    """A few texts as text, tokens, ids and label."""
    rows = []
    for shown in record.tokenizer.shown if record.tokenizer else []:
        tokens, ids = shown.get("tokens") or [], shown.get("ids") or []
        rows += [["text", str(shown.get("text", ""))], ["tokens", " ".join(map(str, tokens))],
                 ["ids", " ".join(map(str, ids))], ["label", number(shown.get("label"))]]
    return Listing("examples", ["", ""], rows) if rows else None


def optimizer(record):
    """The parameter groups; many groups of one kind (a rate for each layer) share a row."""
    kinds = {}
    for group in record.groups:
        alike = (group.optimizer, group.weight_decay)
        kinds.setdefault(alike if len(record.groups) > FEW else (*alike, len(kinds)), []).append(group)
    rows = []
    for groups in kinds.values():
        rates = sorted({group.initial_rate for group in groups})
        many = f" ({len(groups)} groups)" if len(groups) > 1 else ""
        rows.append([groups[0].optimizer + many,
                     number(rates[0]) + (f" to {number(rates[-1])}" if len(rates) > 1 else ""),
                     number(groups[0].weight_decay), number(sum(group.parameters for group in groups)),
                     number(sum(group.elements for group in groups)), place(groups[0].made)])
    outside = weights_in(parameter for parameter in record.parameters
                         if parameter.trainable and parameter.group is None)
    return Listing("optimizer", ["groups", "base rate", "weight decay", "tensors", "weights", "made"], rows,
                 [f"{number(outside)} trainable weights are in no optimizer"] if outside else [])


def schedules(record):
    rows = []
    for schedule in record.schedules:
        numbers = ", ".join(f"{name} {number(value)}" for name, value in schedule.arguments.items()
                            if name != "last_epoch")
        rows += [["schedule", " ".join(filter(None, [schedule.maker or schedule.kind, numbers and f"({numbers})",
                                                     place(schedule.made)]))],
                 ["stepped", f"{number(schedule.calls)} x in {number(record.optimizer_steps)} optimizer steps"
                  + (f", {place(schedule.call_site)}" if schedule.call_site else "")]]
    seen = [step for step in record.steps if step.rates]
    if seen:
        few = seen if len(seen) <= FEW else [seen[i * (len(seen) - 1) // (FEW - 1)] for i in range(FEW)]
        rows.append(["rate seen", ", ".join(f"{number(max(step.rates))} (step {step.index})" for step in few)])
    if record.groups and not record.schedules:
        rows.insert(0, ["schedule", without_schedule(record)])
        if course.sets_its_own_rate(record) is not None and (lengths := course.measured_lengths(record)):
            rows.append(["steps' length", ", ".join(number(rounded(length)) for length in [*lengths[:FEW], lengths[-1]])
                         + " (the weights' change by the first steps and by the last)"])
    return Listing("learning-rate schedule", ["", ""], rows) if rows else None


def without_schedule(record):
    """What is known of the rate where no schedule of torch was seen."""
    own = course.sets_its_own_rate(record)
    if own is not None:
        return f"none seen; {own.optimizer} is code of the script's own and may change its rate by itself"
    moved = len(set(course.highest_rates(record))) > 1
    return "none seen: the rate is set otherwise" if moved else "none seen: the rate stays as it is"


def run(record):
    plan, rows = record.plan, []
    precision = f"autocast {record.autocast}" if record.autocast else None
    kinds = Counter(parameter.dtype for parameter in record.parameters).most_common(1)
    rows.append(["device", ", ".join(filter(None, [record.device, kinds and f"weights {kinds[0][0]}", precision,
                                                   "gradient scaler" if record.scaler_used else None]))])
    if record.encoder:
        encoder = record.encoder
        origin = f"weights from {encoder.loaded_from}" if encoder.loaded_from else "not loaded from a checkpoint"
        name = " ".join(filter(None, [encoder.kind, encoder.name if encoder.name != encoder.loaded_from else ""]))
        rows.append(["encoder", f"{name}, {encoder.layers} layers of width {encoder.hidden_size}, {origin}"])
    if plan.steps:
        rows.append(["plan", f"{number(plan.epochs)} epochs, {number(plan.batches_per_epoch)} batches each, "
                             f"{number(plan.steps)} optimizer steps" + (f" ({plan.how})" if plan.how else "")])
    rows.append(["observed", f"{number(record.optimizer_steps)} optimizer steps, then: {record.ended or 'unknown'}"])
    return Listing("run", ["", ""], rows)


def controls(record, judgement, most=None):
    """The experiments with their answers; `most` figures of each at the most."""
    answers = {True: "yes", False: "no", None: "not measured"}
    rows = []
    for control in record.controls:
        reason = control.reason if control.outcome is None else ""
        measured = reason or readable(dict(list(control.figures.items())[:most]))
        rows.append([control.question or control.name, answers[control.outcome], measured])
    return Listing("controls", ["question", "answer", "measured"], rows, [judgement.side] if rows else [])
