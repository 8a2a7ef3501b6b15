"""A look before the first epoch: the checks that need no training, on a script's own live objects.

    judgement = look(model, model.encoder, optimizer, schedule, steps_per_epoch, epochs, ...)
    print("\\n".join(told(judgement)))

The same checks as in an examination (faults/), on a record that holds what can be known without a step: data, encoding,
freezing, what the optimizer holds, the whole schedule. Nothing is run, moved or drawn from a global random state.
"""

import functools
import random

from diagnosis.record import facts
from diagnosis.record.record import Plan, Record, Schedule, Split, Tokenizer
from diagnosis.verdict.judge import judge
from diagnosis.verdict.report import finding_lines, screen_width

ROWS = 2_000        # of each data set that are looked at; keeps a look at 70,000 rows within two seconds
SEED = 0


def look(model, encoder, optimizer, schedule, steps_per_epoch, epochs, tokenizer, training_ids, training_labels,
         validation_ids=(), validation_labels=(), batch_size=None, max_length=None, full_lengths=(), target=""):
    """The Judgement on a run that is about to begin.

    schedule           the scheduler object, stepped after every optimizer step; None: a constant rate
    steps_per_epoch    optimizer steps, not batches
    training_ids       one sequence of token ids per row, without padding; labels: class ids of the same rows
    full_lengths       tokens of some texts before truncation to max_length; empty: truncation is not checked
    target             the script's name, for the report
    """
    record = Record(target=target, ended="looked", device=str(next(model.parameters()).device))
    record.parameters, record.groups, record.modules = facts.describe_model(
        model, [optimizer] if optimizer is not None else [], encoder)
    if encoder is not None:
        record.encoder = facts.describe_encoder(encoder)
        record.encoder.loaded_from = record.encoder.name or None
    if schedule is not None:
        record.schedules = [_schedule(schedule, steps_per_epoch * epochs)]
    record.plan = Plan(epochs, steps_per_epoch, 1.0, steps_per_epoch * epochs, "counted by the script before training")
    if tokenizer is not None:
        record.tokenizer = _tokenizer(tokenizer, max_length, full_lengths)
    record.training = _split(training_ids, training_labels, batch_size)
    record.validation = _split(validation_ids, validation_labels, batch_size) if len(validation_ids) else None
    record.classes = len(set(map(int, training_labels))) or None
    return judge(record)


def told(judgement):
    """Lines for the screen: one when all is well, else every finding, a consequence under its cause."""
    blocks = [finding_lines(finding, [also for also in consequences if also.level != "note"], screen_width())
              for finding, consequences in judgement.causes if finding.level != "note"]
    return [line for block in blocks for line in [*block, ""]][:-1] or [one_line(judgement)]


def one_line(judgement):
    """'24 checks passed, 20 need training', with the names of what was found in between."""
    found = ", ".join(f"{finding.level}[{finding.name}]" for finding in judgement.findings)
    found = f"{found}, " if found else ""
    return f"{len(judgement.passed)} checks passed, {found}{len(judgement.not_checked)} need training"


def _schedule(scheduler, steps):
    """The schedule over the run's optimizer steps, with the numbers that it was made with where it still holds them."""
    numbers = {}
    for one in getattr(scheduler, "lr_lambdas", ())[:1]:
        numbers = dict(one.keywords) if isinstance(one, functools.partial) else {}     # transformers' own schedules
    numbers |= {name: getattr(scheduler, name) for name in ("T_max", "total_iters", "total_steps")
                if hasattr(scheduler, name)}
    return Schedule(type(scheduler).__name__, type(scheduler).__name__,
                    {name: value for name, value in numbers.items() if isinstance(value, (int, float))},
                    factors=facts.describe_schedule(scheduler, steps),
                    base_rates=[float(one) for one in getattr(scheduler, "base_lrs", ())])


def _tokenizer(tokenizer, max_length, full_lengths):
    full = [int(one) for one in full_lengths]
    return Tokenizer(
        str(getattr(tokenizer, "name_or_path", "")), type(tokenizer).__name__, len(tokenizer),
        tokenizer.unk_token_id, tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id,
        max_length, max_length is not None, full, [min(one, max_length or one) for one in full])


def _split(ids, labels, batch_size):
    """A Split of at most ROWS rows, drawn at random where there are more."""
    rows = range(len(ids))
    if len(ids) > ROWS:
        rows = sorted(random.Random(SEED).sample(rows, ROWS))
    return Split(len(ids), len(ids) <= ROWS, [[int(token) for token in ids[row]] for row in rows],
                 [int(labels[row]) for row in rows] if len(labels) else [], batch_size=batch_size)
