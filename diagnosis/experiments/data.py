"""Controls on the data: can these labels be predicted from these inputs at all?

A cross-validated linear prediction is held against the same with permuted labels; no model of the script takes part.
scikit-learn and scipy are imported where they are used: that takes seconds, which a run should not pay before them.
"""

import random

import numpy as np

from diagnosis.experiments.live import NO, SEED, YES, NoMeasurement, figure
from diagnosis.record.arithmetic import chance_loss

FEWEST_ROWS = 500           # with fewer a weak signal would go unseen, and "no" would be worth nothing
MOST_ROWS = 2_000           # the cost grows with the square; a hundredth of accuracy shows at 2,000 rows
PERMUTATIONS = 100          # resolution of the p-value: 0.01


def labels_from_tokens(live, record, stop, done):
    """A linear model over TF-IDF of tokens and pairs of neighbouring tokens."""
    return _labels_from(record.training.examples, record.training.labels, record.training.examples, _token_kernel)


def labels_from_features(live, record, stop, done):
    """The same over the features that the encoder gives before any training; only where the tokens do not say yes."""
    if "labels-from-tokens" in done and done["labels-from-tokens"].outcome:
        raise NoMeasurement("not needed: the tokens predict them")
    features = live.features() if live is not None else []
    return _labels_from(features, record.training.labels, record.training.examples, _feature_kernel)


def _labels_from(inputs, labels, texts, kernel):
    """Outcome and figures of the permutation test over rows of `inputs`; `texts` tell which rows are copies.

    One row of each text is used, since copies on both sides of a fold would be recognised rather than predicted.
    Where too few different texts remain, all rows are used for "no" (copies that disagree as if shuffled), and "yes"
    needs the different texts alone to say so too.
    """
    known = [row for row in zip(inputs, labels, texts) if row[1] is not None and row[1] >= 0]
    inputs, labels, texts = zip(*known) if known else ((), (), ())
    if len(labels) < FEWEST_ROWS:
        raise NoMeasurement(f"{len(labels)} labelled rows were at hand: at least {FEWEST_ROWS} are needed")
    if not 2 <= len(set(labels)) <= 200:
        raise NoMeasurement(f"{len(set(labels))} different labels")
    first = list({tuple(text): row for row, text in reversed(list(enumerate(texts)))}.values())
    rows = _sample(first if len(first) >= FEWEST_ROWS else list(range(len(labels))))
    outcome, figures = _permutation_test(kernel([inputs[row] for row in rows]), [labels[row] for row in rows])
    figures["different_texts"] = len(first)
    if len(first) < FEWEST_ROWS and outcome:
        first = _sample(first)
        if len(first) < 20 or not _permutation_test(kernel([inputs[row] for row in first]),
                                                    [labels[row] for row in first])[0]:
            raise NoMeasurement(f"only {len(first)} different texts: their copies agree, which tells nothing of others",
                              figures)
    if outcome is None:
        raise NoMeasurement("undecided: a little better than with permuted labels, within what chance does", figures)
    return outcome, figures


def _sample(rows):
    return sorted(random.Random(SEED).sample(rows, min(len(rows), MOST_ROWS)))


def _token_kernel(rows):
    """Cosine similarity of every two rows (rows x rows) in TF-IDF of their tokens and neighbouring pairs."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    pairs = lambda row: [f"{token} {after}" for token, after in zip(row, row[1:])]
    words = TfidfVectorizer(analyzer=lambda row: [*map(str, row), *pairs(row)], sublinear_tf=True).fit_transform(rows)
    return (words @ words.T).toarray()


def _feature_kernel(rows):
    """The same for features, each scaled to spread 1 and a row's length to about 1."""
    features = np.asarray(rows, dtype=np.float64)
    if not np.isfinite(features).all():
        raise NoMeasurement("the features are not finite")
    features = (features - features.mean(0)) / np.maximum(features.std(0), 1e-12)
    return features @ features.T / features.shape[1]


def _permutation_test(kernel, labels):
    """Cross-validated linear prediction of the labels, against the same with permuted labels.

    Ridge regression on the classes' indicators: its one factorisation per fold serves all permutations. The test is
    on the area under the ROC curve (each class against the rest, mean), because with unequal classes a model that
    finds signal may still always say the largest class; accuracy is told beside it. Folds are drawn without looking at
    the labels and the class shares taken off beforehand are those of every permutation, so that real and permuted
    labels are treated exactly alike. Yes: no permutation does as well, and YES spreads lie between.
    """
    from scipy.stats import rankdata
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import KFold
    from threadpoolctl import threadpool_limits
    generator = np.random.default_rng(SEED)
    _, labels = np.unique(labels, return_inverse=True)
    rows, classes = len(labels), labels.max() + 1
    runs = 1 + max(20, min(PERMUTATIONS, 1_500 // classes))
    of_run = np.stack([labels] + [generator.permutation(labels) for _ in range(runs - 1)], axis=1)     # rows x runs
    is_class = np.eye(classes, dtype=bool)[of_run]                                              # rows x runs x classes
    targets = (is_class - is_class[:, 0].mean(0)).reshape(rows, -1)
    scores = np.empty_like(targets)
    with threadpool_limits(1):      # on busy cores several threads that wait for each other take ten times as long
        for training, held in KFold(5, shuffle=True, random_state=SEED).split(kernel):
            linear = KernelRidge(alpha=1.0, kernel="precomputed")
            linear.fit(kernel[np.ix_(training, training)], targets[training])
            scores[held] = linear.predict(kernel[np.ix_(held, training)])
    scores = scores.reshape(is_class.shape) + is_class[:, 0].mean(0)
    accuracy = (scores.argmax(2) == of_run).mean(0)
    ranks = rankdata(scores.reshape(rows, -1), axis=0).reshape(is_class.shape)
    members = is_class.sum(0)
    areas = (((ranks * is_class).sum(0) - members * (members + 1) / 2) / (members * (rows - members))).mean(1)
    distance = (areas[0] - areas[1:].mean()) / max(areas[1:].std(ddof=1), 1e-9)
    as_good = int((areas[1:] >= areas[0]).sum())
    outcome = True if distance >= YES and not as_good else False if distance < NO else None
    return outcome, {
        "accuracy": figure(accuracy[0]), "permuted_accuracy": figure(accuracy[1:].mean()),
        "permuted_spread": figure(accuracy[1:].std(ddof=1)), "majority": figure(members[0].max() / rows),
        "area": figure(areas[0]), "permuted_area": figure(areas[1:].mean()),
        "permuted_area_spread": figure(areas[1:].std(ddof=1)), "spreads_above": figure(distance),
        "p_value": figure((as_good + 1) / runs), "rows": rows, "chance_loss": figure(chance_loss(labels.tolist()))}
