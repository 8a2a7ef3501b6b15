"""training and validation give one class different ids

What it is
    The label names are turned to numbers twice, and not in the same way: from a set (whose order changes from run to
    run), from each file's own order of appearance, or from a list typed twice. Or one class has two names (Positive and
    positive, 1 and 1.0) and so two ids.

How it shows
    The training loss falls as it should and the validation accuracy stays at chance or far below it: 4 % became 91 %
    in one public case once both sides used one order. The confusion matrix has its large figures off the diagonal.

How it is found
    What the training labels say is asked of the validation texts: by texts that stand in both sets, and by a linear
    model over token ids. If the validation labels fit clearly better (McNemar's test, p < 0.001; Cohen's kappa, which
    a constant answer cannot raise) after two or more of them are exchanged, their ids differ. Two names of one class
    are seen where the script tells its classes' names.

Wrong
    def encode(rows):
        ids = {name: number for number, name in enumerate(dict.fromkeys(label for _, label in rows))}
        return [ids[label] for _, label in rows]
    labels, validation_labels = encode(rows), encode(validation_rows)

Right
    ids = {name: number for number, name in enumerate(sorted({label for _, label in rows}))}
    labels, validation_labels = ([ids[label] for _, label in part] for part in (rows, validation_rows))

Not to be confused with
    labels-random, where the training labels themselves cannot be predicted. A class that is missing from one of the
    two sets, or a validation set from another source, on which every numbering does badly.
"""

import operator
from collections import Counter

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score, confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import LinearSVC

from diagnosis.record.arithmetic import rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import SEED, contents, groups_of, token_matrix

GROUP = "data"
EFFECT = "misleads"
CAUSED_BY = ()
NO_TRIAL = "it is the validation labels that are wrong, and no training changes them"

ENOUGH_TRAINING = 200       # rows with labels, for a linear model that says something
ENOUGH_VALIDATION = 100
ENOUGH_TWINS = 20           # texts that stand in both sets
MOST_ROWS = 4000            # of the training set; more makes the model better, but not the answer
MOVED_ROWS = 20             # validation rows of the classes in question
GAIN = 0.25                 # kappa gained on these rows by exchanging the ids
AGREEMENT = 0.2             # kappa after the exchange
CHANCE = 0.001


def check(record):
    if record.alike_classes and record.training.labels:
        return _two_names(record)
    training, validation = record.training, record.validation
    if validation is None or not validation.examples:
        return NotMeasured("no validation examples are known")
    if not training.labels or not validation.labels:
        return NotMeasured("the labels of the training or of the validation examples are not known")
    rows, held = contents(training.examples + validation.examples), len(training.examples)
    rows, others = rows[:held][:MOST_ROWS], rows[held:]
    labels, given = training.labels[:len(rows)], validation.labels
    if len(set(labels)) < 2:
        return NotMeasured("the training examples that are known bear a single label")

    twins, predicted = _by_twins(rows, labels, others)
    enough = len(rows) >= ENOUGH_TRAINING and len(others) >= ENOUGH_VALIDATION
    if len(twins) < ENOUGH_TWINS and not enough:
        return NotMeasured(f"{len(rows)} training and {len(others)} validation rows are too few to compare labels")
    if len(twins) >= ENOUGH_TWINS:
        exchange = _exchange([given[index] for index in twins], predicted)
        if exchange:
            return _finding(exchange, f"{len(twins)} texts that stand in both sets", record)
    if enough:
        predicted, kappa = _by_model(rows, labels, others)
        exchange = _exchange(given, predicted)
        if exchange and kappa >= AGREEMENT:
            return _finding(exchange | {"kappa_within_training": rounded(kappa, 3)}, "a linear model of the tokens",
                            record)
    return None


def _two_names(record):
    """Classes that bear several names: which of them a text has nobody can tell, so only the commonest can be right."""
    rows = Counter(record.class_names[label] for label in record.training.labels)
    lost = sum(sum(rows[name] for name in names) - max(rows[name] for name in names) for names in record.alike_classes)
    told = "; ".join(" and ".join(names) for names in record.alike_classes[:3])
    return Finding(
        "error", f"one class has several names, each with an id of its own ({told})",
        {"rows": rows.total(), "rows_by_name": {name: rows[name] for names in record.alike_classes for name in names},
         "best_possible_accuracy": rounded(1 - lost / rows.total())},
        "No text says how its class was spelled: the model can only guess the commoner name, and every score counts "
        "the other as wrong.",
        "Write each class in one way in the table; if they are different classes, give them names that differ in more "
        "than spelling.", record.training.made)


def _by_twins(rows, labels, others):
    """Validation rows that also stand in training, and the label that they mostly bear there."""
    places = groups_of(rows)
    twins = [index for index, row in enumerate(others) if row and row in places]
    return twins, [Counter(labels[place] for place in places[others[index]]).most_common(1)[0][0] for index in twins]


def _by_model(rows, labels, others):
    """A linear model's labels for the validation rows, and its cross-validated kappa on the training rows."""
    if not any(rows) or not any(others):
        return [labels[0]] * len(others), 0.0
    features, vectorizer = token_matrix(rows)
    model, labels = LinearSVC(class_weight="balanced", C=0.3, random_state=SEED), np.array(labels)
    common = [label for label, count in Counter(labels.tolist()).items() if count >= 3]
    kept = np.isin(labels, common)
    if len(common) < 2:
        return [labels[0]] * len(others), 0.0
    folds = StratifiedKFold(3, shuffle=True, random_state=SEED)
    within = cross_val_predict(model, features[kept], labels[kept], cv=folds)
    model.fit(features[kept], labels[kept])
    return model.predict(token_matrix(others, vectorizer)[0]).tolist(), cohen_kappa_score(labels[kept], within)


def _exchange(given, predicted):
    """The exchange of ids with which the given labels fit the predicted ones best, if it fits clearly better; or None.

    given, predicted: labels of the same validation rows, by the script and by what the training labels say.
    """
    classes = sorted(set(given) | set(predicted))
    table = confusion_matrix(given, predicted, labels=classes)
    lines, columns = linear_sum_assignment(table, maximize=True)
    exchanged = {classes[line]: classes[column] for line, column in zip(lines, columns)}
    moved = [index for index, label in enumerate(given) if exchanged[label] != label]
    if len(moved) < MOVED_ROWS:
        return None
    truth, said = [given[index] for index in moved], [predicted[index] for index in moved]
    as_given = sum(map(operator.eq, truth, said))
    renamed = [exchanged[label] for label in truth]
    as_exchanged = sum(map(operator.eq, renamed, said))
    before, after = _kappa(truth, said), _kappa(renamed, said)
    chance = binomtest(as_exchanged, max(1, as_given + as_exchanged), 0.5, alternative="greater").pvalue
    if after < AGREEMENT or after - before < GAIN or chance >= CHANCE:
        return None
    return {"validation_id_to_training_id": {str(label): exchanged[label] for label in sorted(set(truth))},
            "rows": len(given), "rows_of_these_classes": len(moved), "agree_as_given": as_given,
            "agree_after_exchange": as_exchanged, "kappa_as_given": rounded(before, 3),
            "kappa_after_exchange": rounded(after, 3), "p_value": float(chance)}


def _kappa(labels, others):
    """Cohen's kappa; 0 where both sides are the same single label, which shows no agreement."""
    return 0.0 if len(set(labels) | set(others)) < 2 else cohen_kappa_score(labels, others)


def _finding(exchange, witness, record):
    pairs = ", ".join(f"{label} is {other}" for label, other in
                      list(exchange["validation_id_to_training_id"].items())[:4])
    return Finding(
        "error", f"validation labels are numbered otherwise than training labels ({pairs} in training)",
        {"witness": witness} | exchange,
        "The model learns one numbering and is judged by another, so its validation figures are wrong however well it "
        "learns.",
        "Make the table from label name to number once, from sorted(set(names)), and use it for both sets.",
        record.validation.made)
