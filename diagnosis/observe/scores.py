"""At the stop: the evaluations seen, what the script held against labels in them, the same rows once more, as facts."""

import contextlib
from collections import Counter

import numpy
import torch
from torch.utils.data import Subset

from diagnosis.observe.evaluation import outputs_of, same_evaluation
from diagnosis.record import examples, source
from diagnosis.record.record import UNKNOWN_LABEL, Evaluated, Repeated, Scored

MOST_EVALUATIONS = 8    # the latest
MOST_ROWS = 10_000      # of an evaluation that are written down
READ_LOADERS = 3        # beside the training and the validation loader, whose rows are read
SAME_SHARE = 1e-5       # of all outputs' norm: how far apart the same number may be
SAME_CLASS = 0.95       # of the rows name it, before and after what a script does between model and loss
UNTRAINED = ("untrained", "fresh head", "fresh head on an untrained encoder")


def fill_scores(observer):
    record, evaluation = observer.record, observer.evaluation
    found = evaluations(evaluation.given)[-MOST_EVALUATIONS:]
    reader = Rows(observer)
    for run in found:
        record.evaluations.append(described(observer, run, reader))
    for index, run in enumerate(found):
        record.scored += scored(evaluation, run, index, record.evaluations[index].labels)
    record.repeated = repeated(observer, found)


def evaluations(given):
    """Lists of indices of Given: passes one after the other of one evaluation, after the first step."""
    runs = []
    for place, now in enumerate(given):
        if now.batch.role == "training" or not now.batch.step:
            continue
        if runs and runs[-1][-1] == place - 1 and same_evaluation(given[place - 1], now):
            runs[-1].append(place)
        else:
            runs.append([place])
    return [run for run in runs if sum(given[place].batch.rows for place in run) <= MOST_ROWS
            and all(given[place].outputs is not None for place in run)]


def described(observer, run, reader):
    """The Evaluated of one run."""
    given = [observer.evaluation.given[place] for place in run]
    first, iteration = given[0], given[0].iteration
    made = Evaluated(first.batch.step, weights=first.origin, training_mode=first.batch.head_training,
                     site=first.batch.site, whole=iteration is None or iteration.whole)
    if iteration is not None:
        made.loader, made.of_training_rows = iteration.seen_loader.made, iteration.seen_loader.votes > 0
        made.drawn = examples.is_shuffled(iteration.loader, examples.sampler_of(iteration.loader))
    for each in given:
        made.outputs += [[float(value) for value in row] for row in each.outputs]
        made.labels += reader.labels_of(each)
    if iteration is not None:
        before, now = trained_before(reader, first, iteration)
        made.rows_trained_before, made.rows_trained_now = before, now
    if first.origin in UNTRAINED:
        made.trained_outputs = observer.guard.attempt(by_trained_model, observer.evaluation, given) or []
    return made


class Rows:
    """The data sets behind the script's loaders, read with these, each once."""

    def __init__(self, observer):
        self.observer, self.splits, self.tables = observer, {}, {}
        training = observer.loaders.training()
        learned = training is not None and observer.guard.attempt(examples.learn, training.passes,
                                                                  observer.tokenizers.calls)
        self.ways = learned or (None, None)
        self.in_losses = table_of((key, label) for given in observer.evaluation.given
                                  for key, label in zip(given.keys, labels_beside(given) or []))

    def labels_of(self, given):
        """The labels of a pass's rows by their token ids, from the data set, else as any loss saw them."""
        rows, seen = given.batch.rows, labels_beside(given)
        labels = list(seen) if seen is not None and len(seen) == rows else [UNKNOWN_LABEL] * rows
        if len(given.keys) != rows:
            return labels
        table = table_of_split(self.observer.record.validation) if given.iteration is None else \
            self.table(given.iteration)
        return [table.get(key, self.in_losses.get(key, label)) for key, label in zip(given.keys, labels)]

    def table(self, iteration):
        """{token ids: label} of a loader's data set, without texts that bear two labels."""
        key = id(iteration.loader)
        if key not in self.tables:
            self.tables[key] = table_of_split(self.split(iteration.loader, iteration.seen_loader))
        return self.tables[key]

    def split(self, loader, seen_loader):
        """The Split of a loader; None where it cannot be read or enough others were."""
        observer = self.observer
        if seen_loader is observer.loaders.validation() and seen_loader.loader is loader:
            return observer.record.validation
        if seen_loader is observer.loaders.training() and seen_loader.loader is loader:
            return observer.record.training
        if id(loader) not in self.splits and len(self.splits) < READ_LOADERS:
            own = observer.guard.attempt(examples.learn, seen_loader.passes, observer.tokenizers.calls)
            ways = tuple(mine or other for mine, other in zip(own or (None, None), self.ways))
            self.splits[id(loader)] = observer.guard.attempt(examples.describe_split, loader, None, ways,
                                                             observer.passes.pad_id)
        return self.splits.get(id(loader))


def labels_beside(given):
    """A pass's labels as its loss was given them, in the order of its outputs: a script may have sorted both before, and
    have divided the outputs by a temperature. None where the loss was given the outputs of another model."""
    labels, outputs, logits = given.batch.labels, given.outputs, given.batch.logits
    if labels is None or outputs is None or not logits or numpy.shape(outputs) != numpy.shape(logits):
        return labels
    mine, theirs = (rows / (numpy.linalg.norm(rows) or 1.0) for rows in (numpy.array(outputs, float), numpy.array(logits)))
    orders = [numpy.lexsort(rows.round(6).T) for rows in (mine, theirs)]
    if not numpy.allclose(mine[orders[0]], theirs[orders[1]], atol=SAME_SHARE):
        return labels if (mine.argmax(axis=1) == theirs.argmax(axis=1)).mean() >= SAME_CLASS else None
    there = dict(zip(orders[0].tolist(), orders[1].tolist()))
    return [labels[there[row]] for row in range(len(labels))]


def table_of_split(split):
    if split is None or len(split.examples) != len(split.labels):
        return {}
    return table_of(zip(map(tuple, split.examples), split.labels))


def table_of(pairs):
    """{key: label} without keys that bear two labels."""
    table, twice = {}, set()
    for key, label in pairs:
        if table.setdefault(key, label) != label:
            twice.add(key)
    return {key: label for key, label in table.items() if key not in twice}


# predictions and labels


def scored(evaluation, run, index, own_labels):
    """The Scored of one evaluation: whole columns, and columns batch by batch joined into one for each line."""
    given = evaluation.given
    rows = {place: given[place].batch.rows for place in run}
    found, joined = [], {}

    def start_of(place):
        return sum(rows[before] for before in run if before < place)

    def paired(compared, first, second, first_row, places):
        """A Scored, its columns told apart where no metric was given them."""
        outputs = [row for place in places for row in given[place].outputs]
        known = own_labels[first_row:first_row + len(first)]
        if not compared.roles and first_are_predictions(first, second, outputs, known):
            first, second = second, first
        return Scored(compared.by, index, first_row, second, first, compared.site)

    for compared in evaluation.compared:
        place = compared.passes - 1
        end = place if place in rows else run[-1] if follows(given, run, place) else None
        places = last_with(rows, run, end, len(compared.first)) if end is not None else []
        if len(places) == 1 and len(run) > 1:
            joined.setdefault((compared.by, str(compared.site)), {}).setdefault(end, compared)
        elif places:
            found.append(paired(compared, compared.first, compared.second, start_of(places[0]), places))
    for by_place in joined.values():
        places = sorted(by_place)
        if places != run[run.index(places[0]):run.index(places[-1]) + 1]:
            continue
        first, second = ([value for place in places for value in getattr(by_place[place], side)]
                         for side in ("first", "second"))
        found.append(paired(by_place[places[0]], first, second, start_of(places[0]), places))
    return found


def last_with(rows, run, end, size):
    """The last passes of a run up to one of them that have so many rows together; [] where none have."""
    places, left = [], size
    for place in reversed(run[:run.index(end) + 1]):
        if left <= 0:
            break
        places.insert(0, place)
        left -= rows[place]
    return places if left == 0 else []


def follows(given, run, place):
    """Is a pass (by its place) after an evaluation, and no other evaluation between?"""
    return place > run[-1] and all(each.batch.role == "training" for each in given[run[-1] + 1:place + 1])


def first_are_predictions(first, second, outputs, own_labels):
    """Which of two columns the predictions are: labels have the classes as often as the data set has them, whatever
    befell the predictions; else predictions are what the outputs name; else they usually stand first."""
    known = Counter(label for label in own_labels if label != UNKNOWN_LABEL)
    far = [sum((known - Counter(column)).values()) for column in (first, second)]
    if far[0] != far[1]:
        return far[1] < far[0]
    largest = [int(row.argmax()) if len(row) > 1 else int(row[0] > 0) for row in outputs]
    return agreement(first, largest) >= agreement(second, largest)


def agreement(values, others):
    return sum(value == other for value, other in zip(values, others))


# rows that the model was trained on in another fold


def trained_before(reader, given, iteration):
    """(share of an evaluated loader's rows that its model was trained on over earlier loaders, over the latest one);
    (None, None) where it was trained over one loader only since it last stood anew."""
    seen = list({id(each.loader): each for each in given.trained_on}.values())
    seen = seen[max((place for place, each in enumerate(seen) if each.anew), default=0):]
    if len(seen) < 2 or any(each.loader is iteration.loader for each in seen):
        return None, None
    *earlier, latest = [(each.loader, each.seen_loader) for each in seen]
    rows = rows_of(reader, [(iteration.loader, iteration.seen_loader), latest, *earlier])
    if not rows or not rows[0]:
        return None, None
    own, now, *before = rows
    return len(own & set().union(*before)) / len(own), len(own & now) / len(own)


def rows_of(reader, loaders):
    """The rows that each (loader, SeenLoader) draws from, as sets: by their numbers in one data set, else by their token
    ids; None where they cannot be told."""
    numbers = [numbers_of(loader) for loader, _ in loaders]
    if None not in numbers and len({base for base, _ in numbers}) == 1:
        return [each for _, each in numbers]
    splits = [reader.split(*each) for each in loaders]
    if any(split is None or not split.examples for split in splits):
        return None
    return [set(map(tuple, split.examples)) for split in splits]


def numbers_of(loader):
    """(id of the data set that a loader's rows stand in, their numbers in it); None where it has no such."""
    data, indices = loader.dataset, getattr(loader.sampler, "indices", None)
    try:
        indices = list(range(len(data))) if indices is None else [int(index) for index in indices]
    except TypeError:
        return None
    while isinstance(data, Subset):
        indices = [int(data.indices[index]) for index in indices]
        data = data.dataset
    return id(data), set(indices)


# the same rows again


def by_trained_model(evaluation, given):
    """Outputs of the model that was trained for the first rows of an evaluation of another one."""
    trained = list(evaluation.modules.values())[-1]
    outputs = []
    with evaluating(trained):
        for each in given:
            if len(each.calls) != 1:
                break
            (_, args, kwargs), = each.calls
            outputs += outputs_of(trained(*args, **kwargs), each.batch.rows).tolist()
    return outputs


def repeated(observer, runs):
    """A Repeated of the first rows of the latest evaluation that can be run again; None where there is none."""
    for run in reversed(runs):
        given = observer.evaluation.given[run[0]]
        trained = all(id(module) in observer.evaluation.modules for module in given.roots)
        if not given.calls or len(given.calls) != len(given.roots) or not trained:
            continue
        twice = [outputs_twice(*call, given.batch.rows) for call in given.calls]
        if any(each is None for each in twice):
            continue
        difference = max(float(abs(first - second).max()) for first, second in twice)
        dropouts = sorted(observer.layers.in_evaluation)
        return Repeated(given.batch.rows, difference, float(twice[-1][0].std()),
                        source.make_site(*dropouts[0]) if dropouts else None, given.batch.site)
    return None


def outputs_twice(module, args, kwargs, rows):
    with evaluating(module):
        first, second = (outputs_of(module(*args, **kwargs), rows) for _ in range(2))
    return None if first is None else (first, second)


@contextlib.contextmanager
def evaluating(module):
    """In evaluation mode and without gradients inside, as before outside."""
    flags = {part: part.training for part in module.modules()}
    try:
        with torch.no_grad():
            module.eval()
            yield
    finally:
        for part, flag in flags.items():
            part.training = flag
