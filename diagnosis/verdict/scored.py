"""What the script held against labels, beside the model's outputs for the same rows; the doctor's own score.

A score counts the rows whose prediction is the label. Shared by the checks of evaluation and by the report.
"""

from collections import Counter
from dataclasses import dataclass

from diagnosis.record.record import UNKNOWN_LABEL, Evaluated, Scored
from diagnosis.verdict.measures import BINARY_LOSSES, training_loss_function

FEWEST_ROWS = 16        # of a comparison that is judged
KNOWN = 0.95            # of its rows, whose labels the doctor could read


@dataclass
class Comparison:
    """Four columns for the same rows, in the order of the passes, with classes as numbers."""
    scored: Scored
    evaluation: Evaluated
    outputs: list[list[float]]
    guesses: list[int] | None           # what the outputs name; None where the loss does not say how to read them
    own_labels: list[int]
    predictions: list
    labels: list


def comparisons(record):
    """The comparisons that the script made after its first step, those of few rows left out."""
    found = []
    for scored in record.scored:
        evaluation = record.evaluations[scored.evaluation]
        rows = slice(scored.first_row, scored.first_row + len(scored.labels))
        outputs, own = evaluation.outputs[rows], evaluation.labels[rows]
        if len(scored.labels) < FEWEST_ROWS or len(outputs) != len(scored.labels):
            continue
        labels, predictions = numbered(scored, own)
        found.append(Comparison(scored, evaluation, outputs, named_classes(record, outputs), own, predictions, labels))
    return found


def numbered(scored, own):
    """Labels and predictions in the numbers of the doctor's own labels, where the script calls the classes otherwise."""
    mine = sorted(set(own) - {UNKNOWN_LABEL})
    theirs = set(scored.labels) | (set(scored.predictions) if isinstance(scored.labels[0], str) else set())
    if theirs == set(mine) or len(theirs) != len(mine) or len({type(name) for name in theirs}) > 1:
        return scored.labels, scored.predictions
    table = dict(zip(sorted(theirs), mine))
    return ([table.get(name, name) for name in scored.labels], [table.get(name, name) for name in scored.predictions])


def named_classes(record, outputs):
    """The class that each row's outputs name: the largest, or the side of the threshold that the loss has; None where
    several may be named (a binary loss over several outputs) or none."""
    loss = training_loss_function(record)
    if not outputs or not outputs[0] or (len(outputs[0]) > 1 and loss in BINARY_LOSSES):
        return None
    if len(outputs[0]) > 1:
        return [max(range(len(row)), key=row.__getitem__) for row in outputs]
    if loss in BINARY_LOSSES:
        threshold = 0.0 if loss == "binary_cross_entropy_with_logits" else 0.5
        return [int(row[0] > threshold) for row in outputs]
    labels = {label for batch in record.batches_of("training") for label in batch.labels or []}
    return [int(row[0] > 0.5) for row in outputs] if loss == "mse_loss" and labels <= {0, 1} else None


def agreement(predictions, labels):
    """Share of the rows whose prediction is the label; rows without a known label aside. None without any row."""
    known = [(prediction, label) for prediction, label in zip(predictions, labels) if label != UNKNOWN_LABEL]
    return sum(prediction == label for prediction, label in known) / len(known) if known else None


def placeholders(own_labels, labels):
    """The data set's labels are no labels: one and the same for all rows, where the script knows several classes."""
    return len(set(own_labels)) == 1 and len(set(labels)) > 1


def known_share(labels):
    return sum(label != UNKNOWN_LABEL for label in labels) / len(labels) if labels else 0.0


def apart(values, others):
    """How many of two lists of as many values remain once equal ones are paired off, whatever their order."""
    return len(values) - sum((Counter(values) & Counter(others)).values())


# the doctor's own score


def scores(record):
    """{'own': ..., 'script': ...} for the latest evaluation whose labels are known: rows, accuracy, macro F1, the
    largest class's share; None where there is none. 'script' is None where what it compared was not seen."""
    for index in range(len(record.evaluations) - 1, -1, -1):
        evaluation = record.evaluations[index]
        outputs, origin = evaluation.outputs, evaluation.weights
        if evaluation.trained_outputs:
            outputs, origin = evaluation.trained_outputs, "trained"
        labels = evaluation.labels[:len(outputs)]
        own = named_classes(record, outputs)
        if (origin != "trained" or own is None or known_share(labels) < KNOWN or len(labels) < FEWEST_ROWS
                or evaluation.of_training_rows):
            continue
        compared = [each for each in comparisons(record) if each.scored.evaluation == index]
        if compared and placeholders(labels, compared[-1].labels):
            continue
        return {"own": score(own, labels), "script": score_of_script(compared[-1]) if compared else None}
    return None


def score(predictions, labels):
    from sklearn.metrics import f1_score
    known = [(prediction, label) for prediction, label in zip(predictions, labels) if label != UNKNOWN_LABEL]
    predictions, labels = zip(*known)
    largest = max(Counter(labels).values()) / len(labels)
    comparable = len({type(value) for value in predictions + labels}) == 1
    macro = float(f1_score(labels, predictions, average="macro", zero_division=0)) if comparable else None
    return {"rows": len(labels), "accuracy": agreement(predictions, labels), "macro_f1": macro,
            "largest_class": largest}


def score_of_script(comparison):
    site = comparison.scored.site
    where = {"file": site.file, "line": site.line} if site else None
    return score(comparison.predictions, comparison.labels) | {"by": comparison.scored.by, "where": where}
