"""What a trial showed: the run mended against the run as it is, step by step on the same batches.

Both are seeded alike, so that the same step of both has the same batch as a rule, and the luck of the batch falls out
of the difference of the two losses.
"""

import math
import statistics
from dataclasses import replace

from diagnosis.record.arithmetic import rounded
from diagnosis.record.record import place
from diagnosis.verdict import course
from diagnosis.verdict.finding import Cure
from diagnosis.verdict.measures import crash_line
from diagnosis.verdict.outcome import LEARNS, measured

FEWEST = 8          # losses, below which there is no trend
SURE = 2            # standard errors by which the mended loss must be the lower; more where the run learns as it is
SURER = 3
TELLING = 0.01      # and by this share of it
UNTOUCHED = "the same to the last digit: that change does not reach what this script does, so it shows nothing"


def cure_of(mend, as_it_is, mended, outcome):
    """The Cure that a trial of this mend shows.

    as_it_is, mended    the records of the two runs
    outcome             of the run as it is

    Raises:
        ValueError: the mended run made too few steps, and why.
    """
    replaced = "plain_cross_entropy" in mend.changes
    minimised = by_backward(mended) if replaced else mended
    before, after = course.losses_seen(as_it_is), course.losses_seen(minimised)
    if len(after) < FEWEST:
        raise ValueError(f"with {mend.words} the run made {mended.optimizer_steps} steps{why_it_ended(mended)}")
    steps = min(len(after), len(before)) if len(before) >= FEWEST else len(after)
    before, after = before[:steps], after[:steps]
    now = learns(cut_to(minimised, steps))
    own = course.losses_seen(mended)[:steps]        # of the loss that the script computes
    if not before or not mend.comparable or loss_functions(as_it_is) != loss_functions(mended):
        said, better = "it learns" if now else "it does not learn by that alone", now
    elif outcome == LEARNS:
        better = is_lower(before, own, SURER)
        said = learns_as_it_is(better, own == before) if now else "it no longer learns"
    else:
        better = replaced and now or is_lower(before, own, SURE)
        said = "the same to the last digit: " * (own == before) + in_words(now, better)
    return Cure(mend.words, steps, ends(before), ends(after), now, now and better, said, better)


def in_words(now, better):
    """What came of it for a run that does not learn as it is."""
    if now:
        return "it learns" if better else "it learns, but no better than the run as it is"
    return "the loss is lower, but not enough in so few steps to say that it learns" if better \
        else "it does not learn by that alone"


def learns_as_it_is(better, same):
    """What came of it for a run that learns mended and as it is. same: to the last digit"""
    if same:
        return UNTOUCHED
    return "it learns more" if better else "no difference: it learns as it is"


def learns(record):
    """By the outcome's measure; or the loss falls beyond its noise and the model tells its inputs apart."""
    movement = course.trend(record)
    return measured(record) == LEARNS or bool(movement and movement.falls and course.holds(record, "input-matters"))


def cut_to(record, count):
    """The record with its first losses alone."""
    batches = [batch for batch in record.batches if batch.role != "training"] + record.batches_of("training")[:count]
    return replace(record, batches=batches, steps=record.steps[:count])


def by_backward(record):
    """The record with the losses that backward ran on, where a mend put another in place of the script's."""
    return replace(record, batches=[replace(batch, loss=None, loss_function="cross_entropy")
                                    if batch.role == "training" else batch for batch in record.batches])


def is_lower(before, after, sure):
    """Is the mended loss the lower in the last third, by more than the differences of its steps leave to luck?

    sure   in standard errors
    """
    gains = [as_it_is - mended for as_it_is, mended in zip(before, after)][-max(2, len(after) // 3):]
    mean, error = statistics.fmean(gains), statistics.stdev(gains) / math.sqrt(len(gains))
    return mean > sure * error and mean > TELLING * abs(statistics.fmean(after))


def loss_functions(record):
    """Names of the losses trained on; only those of one kind compare."""
    return {batch.loss_function for batch in record.batches_of("training")}


def ends(losses):
    """[first, last]: the means over the first and the last third of the steps, as the trend has them."""
    third = len(losses) // 3
    if not third:
        return [None, None]
    return [rounded(statistics.fmean(part), 4) for part in (losses[:third], losses[-third:])]


def why_it_ended(record):
    if record.crash is not None:
        return f" and crashed: {crash_line(record.crash)} {place(record.crash.site)}".rstrip()
    return " in the time left" if record.ended == "time limit" else ""
