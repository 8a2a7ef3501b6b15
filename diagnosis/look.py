"""A look before the first epoch: the checks that need no training, on a script's own live objects.

    run = PlannedRun(epochs, steps_per_epoch, batch_size, Rows(ids, labels), Rows(validation_ids, validation_labels))
    print("\n".join(told(look(model, optimizer, schedule, run))))

The same checks as in an examination (faults/), on a record that holds what can be known without a step: data, encoding,
freezing, what the optimizer holds, the whole schedule. Nothing is run, moved or drawn from a global random state.
"""

import functools
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from diagnosis.record import facts, origins
from diagnosis.record.record import Plan, Record, Schedule, Split, Tokenizer
from diagnosis.verdict.judge import judge
from diagnosis.verdict.report import finding_lines, screen_width

ROWS = 2_000        # of each data set that are looked at; keeps a look at 70,000 rows within two seconds
SEED = 0


@dataclass
class Rows:
    """One data set as it will reach the encoder."""
    ids: Sequence               # one sequence of token ids per row, without padding
    labels: Sequence[int]       # class ids of the same rows


@dataclass
class PlannedRun:
    """A run that is about to begin, as its script counted and encoded it."""
    epochs: int
    steps_per_epoch: int        # optimizer steps, not batches
    batch_size: int | None
    training: Rows
    validation: Rows | None = None
    tokenizer: object | None = None     # of transformers
    max_length: int | None = None       # tokens to which it cut the texts
    full_lengths: Sequence[int] = ()    # tokens of some texts before that; empty: truncation is not checked
    class_names: Sequence[str] = ()     # in the order of the class ids
    alike_classes: Sequence[Sequence[str]] = ()     # names of classes that are probably one, as the script judges names


def look(model, optimizer, schedule, run, target=""):
    """The Judgement on a run that is about to begin.

    schedule    the scheduler object, stepped after every optimizer step; None: a constant rate
    run         the PlannedRun
    target      the script's path, in which the constants are found that a finding's help names
    """
    record = Record(target=target, ended="looked", device=str(next(model.parameters()).device))
    encoder = facts.find_encoder(model)
    record.parameters, record.groups, record.modules = facts.describe_model(
        model, [optimizer] if optimizer is not None else [], encoder)
    if encoder is not None:
        record.encoder = facts.describe_encoder(encoder)
        record.encoder.loaded_from = record.encoder.name or None
    steps = run.steps_per_epoch * run.epochs
    if schedule is not None:
        record.schedules = [_schedule(schedule, steps)]
    record.plan = Plan(run.epochs, run.steps_per_epoch, 1.0, steps, "counted by the script before training")
    if run.tokenizer is not None:
        record.tokenizer = _tokenizer(run.tokenizer, run.max_length, run.full_lengths)
    record.training = _split(run.training, run.batch_size)
    record.validation = _split(run.validation, run.batch_size) if run.validation and len(run.validation.ids) else None
    if target:
        record.settings = origins.settings({}, [target], sys.argv[1:])
    record.class_names, record.alike_classes = list(run.class_names), [list(names) for names in run.alike_classes]
    record.classes = len(set(map(int, run.training.labels))) or None
    return judge(record)


def told(judgement):
    """Lines for the screen: one when all is well, else every finding, a consequence under its cause."""
    blocks = [finding_lines(finding, [also for also in consequences if also.level != "note"], screen_width())
              for finding, consequences in judgement.causes if finding.level != "note"]
    return [line for block in blocks for line in [*block, ""]][:-1] or [summary(judgement)]


def errors(judgement, but=()):
    """What was found at level error, a line each; without what follows from it and without faults of these names."""
    return [finding.title for finding, _ in judgement.causes if finding.level == "error" and finding.name not in but]


def summary(judgement):
    """'24 checks passed, 20 need training', with the names of what was found in between."""
    found = ", ".join(f"{finding.level}[{finding.name}]" for finding in judgement.findings)
    found = f"{found}, " if found else ""
    return f"{len(judgement.passed)} checks passed, {found}{len(judgement.not_checked)} need training"


def _schedule(scheduler, steps):
    """The schedule over the run's optimizer steps, with the numbers that it was made with where it still holds them."""
    numbers = {}
    for factor in getattr(scheduler, "lr_lambdas", ())[:1]:
        if isinstance(factor, functools.partial):       # transformers' own schedules
            numbers = dict(factor.keywords)
    numbers |= {name: getattr(scheduler, name) for name in ("T_max", "total_iters", "total_steps")
                if hasattr(scheduler, name)}
    return Schedule(type(scheduler).__name__, type(scheduler).__name__,
                    {name: value for name, value in numbers.items() if isinstance(value, (int, float))},
                    factors=facts.describe_schedule(scheduler, steps),
                    base_rates=[float(rate) for rate in getattr(scheduler, "base_lrs", ())])


def _tokenizer(tokenizer, max_length, full_lengths):
    full = [int(length) for length in full_lengths]
    return Tokenizer(
        str(getattr(tokenizer, "name_or_path", "")), type(tokenizer).__name__, len(tokenizer),
        tokenizer.unk_token_id, tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id,
        max_length, max_length is not None, full, [min(length, max_length or length) for length in full])


def _split(data, batch_size):
    """A Split of at most ROWS rows, drawn at random where there are more."""
    places = range(len(data.ids))
    if len(data.ids) > ROWS:
        places = sorted(random.Random(SEED).sample(places, ROWS))
    return Split(len(data.ids), len(data.ids) <= ROWS, [[int(token) for token in data.ids[place]] for place in places],
                 [int(data.labels[place]) for place in places] if len(data.labels) else [], batch_size=batch_size)
