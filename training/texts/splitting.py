"""Splitting a table so that no text and no group stands on both sides, and counting what does all the same."""

import math
import warnings
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import numpy
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from training.texts.refusal import TableError
from training.texts.tables import hashed

# Up to so many groups times folds are split by StratifiedGroupKFold, which balances classes and sizes but takes 0.04 ms
# for each; more groups, 2,000 in ten folds, even out by themselves.
FEW_GROUPS_TIMES_FOLDS = 20_000
MOST_FOLDS = 20     # 0.1 is one fold of ten, 0.4 two of five, 0.15 three of twenty; less is one of more folds than that


def split_table(table, validation_share, seed, what_for="for validation; add rows, or give VAL_PATH"):
    """(training, validation): stratified by label, equal texts and equal groups together on one side.

    Args:
        what_for: why rows are set aside, and the way out where there are too few, for the message.

    Raises:
        TableError: too few separate texts or groups to split.
    """
    groups = _linked_groups(table.keys, *([hashed(table.groups, len(table))] if table.groups else []))
    count = groups.max() + 1
    share = Fraction(validation_share).limit_denominator(MOST_FOLDS) if validation_share > 1 / MOST_FOLDS else \
        Fraction(1, round(1 / validation_share))
    parts = share.denominator
    if count < parts:
        raise TableError(f"{table.path}: {count} different texts or groups are too few to set {validation_share:.0%} "
                         f"aside {what_for}")
    labels = numbered(table.labels)
    in_every_fold = numpy.bincount(labels).max() >= parts       # one class at least
    if in_every_fold and count * parts <= FEW_GROUPS_TIMES_FOLDS:
        folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
        with warnings.catch_warnings():     # a class with fewer rows than folds cannot be in each; that is no news
            warnings.simplefilter("ignore", UserWarning)
            of_folds = [rows for _, rows in islice(folds.split(groups, labels, groups), share.numerator)]
        in_validation = numpy.zeros(len(labels), dtype=bool)
        in_validation[numpy.concatenate(of_folds)] = True
        training, validation = numpy.flatnonzero(~in_validation), numpy.flatnonzero(in_validation)
    else:
        training, validation = _split_groups(groups, labels, validation_share, seed)
    return table.rows(training), table.rows(validation)


def fold_of(table, folds, number, seed):
    """(the other rows, the rows of one fold): every row is in one of the folds 1, 2, ..., with all rows of its group.

    Raises:
        TableError: fewer separate texts or groups than folds.
    """
    groups = _linked_groups(table.keys, *([hashed(table.groups, len(table))] if table.groups else []))
    count = groups.max() + 1
    if count < folds:
        raise TableError(f"{table.path}: {count} different texts or groups are too few for {folds} folds")
    labels = numbered(table.labels)
    if numpy.bincount(labels).max() >= folds and count * folds <= FEW_GROUPS_TIMES_FOLDS:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():     # as above
            warnings.simplefilter("ignore", UserWarning)
            inside = next(islice((rows for _, rows in splitter.split(groups, labels, groups)), number - 1, None))
        inside = numpy.isin(numpy.arange(len(labels)), inside)
    else:
        places = numpy.random.default_rng(seed).permutation(count) % folds
        inside = places[groups] == number - 1
    return table.rows(numpy.flatnonzero(~inside)), table.rows(numpy.flatnonzero(inside))


def numbered(labels):
    """Each label's place among the different ones."""
    places = {label: place for place, label in enumerate(sorted(set(labels)))}
    return numpy.fromiter(map(places.get, labels), numpy.int64, len(labels))


def _linked_groups(*columns):
    """A number for each row, equal where rows share a value in a column, directly or through other rows."""
    rows = numpy.arange(len(columns[0]))
    links, offset = [], len(rows)
    for column in columns:
        numbers = numpy.unique(column, return_inverse=True)[1]
        links.append((rows, numbers + offset))
        offset += numbers.max() + 1
    ends = tuple(numpy.concatenate(end) for end in zip(*links))
    graph = coo_matrix((numpy.ones(len(ends[0]), dtype=bool), ends), shape=(offset, offset))
    _, component = connected_components(graph, directed=False)
    return numpy.unique(component[:len(rows)], return_inverse=True)[1]


def _split_groups(groups, labels, validation_share, seed):
    """Whole groups at random, stratified by the label of each group's first row."""
    first = numpy.unique(groups, return_index=True)[1]
    size = math.ceil(validation_share * len(first))
    _, chosen = train_test_split(numpy.arange(len(first)), test_size=size, random_state=seed,
                                 stratify=_strata(labels[first], size))
    in_validation = numpy.isin(groups, chosen)
    return numpy.flatnonzero(~in_validation), numpy.flatnonzero(in_validation)


def _strata(labels, size):
    """The labels (numbers) as train_test_split can stratify by them, single ones together; None where it cannot."""
    strata = numpy.where(numpy.bincount(labels)[labels] > 1, labels, -1)
    counts = numpy.unique(strata, return_counts=True)[1]
    return strata if counts.min() > 1 and len(counts) <= min(size, len(labels) - size) else None


def sample_rows(table, rows, seed):
    """A random, stratified part of a table, in the table's order; the table itself where rows is 0 or not fewer."""
    if not 0 < rows < len(table):
        return table
    chosen, _ = train_test_split(numpy.arange(len(table)), train_size=rows, random_state=seed,
                                 stratify=_strata(numbered(table.labels), rows))
    return table.rows(numpy.sort(chosen))


@dataclass
class Overlap:
    """How much of the validation rows stands in training too: as shares of the validation rows."""
    texts: float
    groups: float | None        # None where no group column is given
    rows: int = 0               # validation rows; 0: not known

    @property
    def inflates(self):
        """Whether so much could move an accuracy by more than its interval (95 %), at its widest."""
        interval = 0.98 / math.sqrt(self.rows) if self.rows else 0.0
        return max(self.texts, self.groups or 0.0) > interval

    @property
    def warning(self):
        """What is to stand beside every score; '' where nothing need."""
        share = max(self.texts, self.groups or 0.0)
        return f"inflated: {share:.0%} of validation stands in training" if self.inflates else ""


def overlap(training, validation):
    """Count the validation texts (normalized) and groups that training holds as well."""
    texts = float(numpy.isin(validation.keys, training.keys).mean())
    groups = None
    if training.groups:
        groups = float(numpy.isin(*(hashed(table.groups, len(table)) for table in (validation, training))).mean())
    return Overlap(texts, groups, len(validation))
