"""Measurements that checks of data, input and model share: labels, rows of token ids, whether anything is learned.

Facts in, numbers out; a fault's own thresholds stay in its file. Sums over optimizer steps are in course.py.
scikit-learn is imported where it is used: that takes seconds, which the start of an examination should not wait for.
"""

import math
import re
from collections import Counter

from diagnosis.verdict.course import guessing_loss, trend

CLASS_LOSSES = ("cross_entropy", "nll_loss")        # one integer label per row, one output per class
BINARY_LOSSES = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
IGNORED = -100                                      # the label that torch's losses leave out unless told otherwise
SEED = 0


def crash_line(crash):
    """'IndexError: Target 4 is out of bounds.': what ended the script, in its first line."""
    message = (crash.message.strip().splitlines() or [""])[0]
    return ": ".join(filter(None, [crash.kind, message]))


LABEL_BROKE_IT = re.compile(
    r"Target -?\d+ is out of bounds|index -?\d+ is out of bounds for dimension|Class values must be|device-side assert|"
    r"all elements of (input|target) should be between 0 and 1|cur_target >= 0")      # torch's words, none of others


def crashed_on_label(record):
    """Did a label end the script, by what torch said?"""
    return record.crash is not None and LABEL_BROKE_IT.search(record.crash.message) is not None


# ---- batches, labels and outputs


def training_batches(record):
    """The batches that were trained on; after a crash before the first backward, the batch that crashed."""
    return record.batches_of("training") or record.batches[-1:]


def known_training_labels(record):
    """Labels of the training rows as far as they are known, and whether these are all rows' labels."""
    if record.training.labels:
        return record.training.labels, record.training.complete
    if record.training.order_labels:
        return record.training.order_labels, False
    return [label for batch in training_batches(record) for label in batch.labels or []], False


def drawn_at_random(split):
    """The examples stand for all rows: they are all of them, or the loader shuffles, or they are more than the batches
    that were seen, so that they were drawn from the data set itself, or they came in no order of their class."""
    return (split.complete or split.shuffled is True or len(split.labels) > len(split.order_labels)
            or come_mixed(split.order_labels))


def come_mixed(labels):
    """Neighbours differ more often than in a file that is sorted by class, or made of a few sorted parts."""
    changes = sum(label != after for label, after in zip(labels, labels[1:]))
    return changes > 2 * len(set(labels)) + 2


def number_of_outputs(record):
    """Width of the logits, or of the head's last matrix where no batch reached the loss; None where unknown."""
    widths = Counter(batch.outputs for batch in training_batches(record) if batch.outputs)
    if widths:
        return widths.most_common(1)[0][0]
    matrices = [parameter for parameter in record.parameters if parameter.part == "head" and len(parameter.shape) == 2]
    return matrices[-1].shape[0] if matrices else None


def training_loss_function(record):
    """The loss function of most training batches; None where unknown."""
    names = Counter(batch.loss_function for batch in training_batches(record) if batch.loss_function)
    return names.most_common(1)[0][0] if names else None


def classes_that_fit(outputs, loss_function):
    """How many classes a head of that many outputs can tell apart under that loss; None where it is no class loss."""
    if not outputs:
        return None
    if loss_function in BINARY_LOSSES:
        return 2 if outputs == 1 else None
    return outputs if loss_function in CLASS_LOSSES else None


def rebalanced(record):
    """Rare classes are given more weight: by class weights in the loss or by the sampler (by name, or as drawn)."""
    if any(batch.class_weights for batch in training_batches(record)):
        return True
    if re.search("weight|balanc", f"{record.training.sampler} {record.training.loader}", re.IGNORECASE):
        return True
    drawn, whole = record.training.order_labels, record.training.labels
    if not record.training.complete or len(drawn) < 100 or len(set(whole)) < 2 or record.training.shuffled is False:
        return False
    largest, count = Counter(whole).most_common(1)[0]
    expected, found = count / len(whole), drawn.count(largest) / len(drawn)
    return (expected - found) / math.sqrt(expected * (1 - expected) / len(drawn)) > 6


def scored_batches(record, role):
    """Batches of that role whose logits (rows x at least two outputs) and labels are known."""
    return [batch for batch in record.batches_of(role) if batch.logits and batch.labels
            and len(batch.logits) == len(batch.labels) and len(batch.logits[0]) > 1]


def predictions(batches):
    """(labels, predicted classes) of all rows of these batches."""
    labels = [label for batch in batches for label in batch.labels]
    return labels, [max(range(len(row)), key=row.__getitem__) for batch in batches for row in batch.logits]


# ---- learning


def is_learning(record):
    """The training loss ends clearly below that of guessing by class frequency; None with fewer than 8 losses.

    Where it cannot be compared with guessing (no class loss, class weights, summed over the batch), it must fall by a
    tenth. Clearly: by twice the standard error of the loss's trend.
    """
    movement, guess = trend(record), guessing_loss(record)
    if movement is None:
        return None
    if movement.last < 0:
        return False            # no loss of a classifier: a likelihood that is minimised, scores without a softmax
    if guess and training_loss_function(record) in CLASS_LOSSES and movement.first < 3 * guess:
        return movement.last < min(0.97 * guess, guess - 2 * movement.noise)
    return movement.falls and movement.last < 0.9 * movement.first


# ---- texts as rows of token ids


def contents(rows):
    """The rows as tuples, without the token that begins and the one that ends nearly all of them ([CLS], [SEP])."""
    rows = [tuple(row) for row in rows]
    for place, rest in ((0, slice(1, None)), (-1, slice(None, -1))):
        marks = Counter(row[place] for row in rows if row)
        mark, count = marks.most_common(1)[0] if marks else (None, 0)
        if count and count >= 0.9 * sum(marks.values()):
            rows = [row[rest] if row and row[place] == mark else row for row in rows]
    return rows


def groups_of(rows):
    """The places of each different row: {row: [index, ...]}."""
    places = {}
    for index, row in enumerate(rows):
        places.setdefault(tuple(row), []).append(index)
    return places


def token_matrix(rows, fitted=None):
    """TF-IDF over token ids as words, one normalized line per row, and its vectorizer, fitted unless one is given."""
    if fitted is None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        fitted = TfidfVectorizer(analyzer=list, sublinear_tf=True).fit(rows)
    return fitted.transform(rows), fitted


def nearest_similarity(queries, rows, itself=False):
    """Cosine of each query to its nearest row; with itself=True the queries are among the rows, and none is its own."""
    from sklearn.neighbors import NearestNeighbors
    neighbours = 2 if itself else 1
    search = NearestNeighbors(n_neighbors=neighbours, metric="cosine").fit(rows)
    distances, _ = search.kneighbors(queries)
    return 1 - distances[:, neighbours - 1]
