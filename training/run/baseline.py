"""What any score has to be held against: guessing, and a linear model over words."""

import warnings
from dataclasses import dataclass, field

import numpy
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.svm import LinearSVC

WORD = r"(?u)[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]{2,}"     # scikit-learn's, but texts without
                        # blanks between their words (Chinese, Japanese) are cut into characters
BASELINE_ROWS = 200_000     # that the linear model is fitted on at most; its memory and time grow with them


@dataclass
class Baseline:
    """What needs no encoder, measured on the same rows."""
    loss: float             # of giving each class its training share as probability; counted one higher each where
                            # training lacks one of the classes
    accuracy: float         # of always naming the largest class of training
    largest_class: str
    linear_accuracy: float  # LinearSVC over TF-IDF
    linear_macro_f1: float
    linear_model: str = "LinearSVC over TF-IDF"     # says so where it was not fitted on all rows
    linear: numpy.ndarray | None = field(default=None, repr=False)      # what it says of each row, class numbers

    def figures(self):
        """Without what the linear model says of each row."""
        return {name: value for name, value in vars(self).items() if name != "linear"}


def measure_baselines(training, tables, names, training_labels, labels_of_tables, seed=0):
    """The Baseline of each table: guessing, and a linear model over TF-IDF, both fitted on the training rows; the
    linear model on BASELINE_ROWS at most."""
    counts = numpy.bincount(training_labels, minlength=len(names))
    shares = (counts + (counts.min() == 0)) / (counts + (counts.min() == 0)).sum()
    vectors = TfidfVectorizer(token_pattern=WORD)
    texts, labels, linear_model = training.words, training_labels, Baseline.linear_model
    if len(training) > BASELINE_ROWS:
        drawn = numpy.sort(numpy.random.default_rng(seed).choice(len(training), BASELINE_ROWS, replace=False))
        texts, labels, linear_model = [texts[row] for row in drawn], labels[drawn], f"LinearSVC, {BASELINE_ROWS:,} rows"
    try:
        with warnings.catch_warnings():     # many classes beside few rows are no news here
            warnings.simplefilter("ignore", UserWarning)
            model = LinearSVC(random_state=0).fit(vectors.fit_transform(texts), labels)
        said = [model.predict(vectors.transform(table.words)) for table in tables]
    except ValueError:      # no word in any text: the linear model has nothing to see and guesses
        said = [numpy.full_like(labels, shares.argmax()) for labels in labels_of_tables]
    return [Baseline(float(-numpy.log(shares)[labels].mean()), float((labels == shares.argmax()).mean()),
                     names[shares.argmax()], accuracy_score(labels, linear),
                     f1_score(labels, linear, average="macro", zero_division=0), linear_model, linear)
            for labels, linear in zip(labels_of_tables, said)]
