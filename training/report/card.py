"""README.md of a saved model: what it was trained on, what its scores are worth, where it ends. Its form is card.md."""

import html
import re
from pathlib import Path

import jinja2
import numpy
from sklearn.metrics import confusion_matrix

from training.files import write_whole
from training.report.page import decimals, interval
from training.report.scores import class_scores, wilson

FEW_ROWS = 20       # to train on, below which a class is named among the limits


def write_card(folder, data, best, epochs, constants, facts):
    """Write README.md into the folder of a saved model; its path.

    Args:
        data: the run's Data.
        best: the best epoch's line of metrics.jsonl and its "probabilities" [validation rows, classes].
        epochs: how many were trained so far.
        constants: name -> value, as the run used them.
        facts: what config.json tells besides, with "versions", "sha256" of the table and "same_class", the class of
            transformers that computes the same or None.
    """
    predictions, names = numpy.asarray(best["probabilities"]).argmax(axis=1), list(data.names)
    trained_on = numpy.bincount(data.training_labels, minlength=len(names)).tolist()
    matrix = confusion_matrix(data.labels, predictions, labels=range(len(names)))
    classes = [line | {"trained_on": count} for line, count in zip(class_scores(matrix, names), trained_on)]
    within = wilson(int(matrix.trace()), int(matrix.sum()))
    text = template().render(
        title=f"{Path(constants['TRAIN_PATH']).name}: {len(names)} classes", names=names, best=best, epochs=epochs,
        rows=len(data.labels), interval=within, baseline=data.baseline, classes=classes, trained_on=sum(trained_on),
        dropped=", ".join(f"{count:,} {reason}" for reason, count in data.dropped.items()), constants=constants,
        limits=limits(data, best, within, classes, constants), encoder=facts["encoder"], head=constants["HEAD"],
        versions=facts["versions"], sha256=facts["sha256"], same_class=facts["same_class"])
    return write_whole(Path(folder) / "README.md", text)


def limits(data, best, within, classes, constants):
    """What a user of the model has to know, each a sentence."""
    told = ["It answers each text with one of its classes, also a text that belongs to none of them."]
    if data.warning:
        told.append(f"To be read beside the scores: {data.warning}.")
    if data.baseline.linear_accuracy >= within[0]:
        told.append(f"It is not shown to be better than {data.baseline.linear_model}: that accuracy, "
                    f"{data.baseline.linear_accuracy:.3f}, lies within this one's interval or above it.")
    elif best["val_acc"] <= data.baseline.accuracy:
        told.append("It is no better than always saying the largest class.")
    cut = float((data.validation_lengths() >= constants["MAX_LENGTH"]).mean())
    if cut:
        told.append(f"Only the first {constants['MAX_LENGTH']} tokens of a text are read; {cut:.1%} of the validation "
                    "texts reach that length.")
    few = [f"{cell(line['name'])} ({line['trained_on']})" for line in classes if line["trained_on"] < FEW_ROWS]
    if few:
        told.append(f"Classes learned from fewer than {FEW_ROWS} rows: {', '.join(few)}.")
    told.append("Texts of another kind, time or language than those of the table were not scored.")
    return told


def template():
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=False,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                                     keep_trailing_newline=True)
    environment.filters |= {"cell": cell, "decimals": decimals, "interval": interval, "count": "{:,}".format}
    return environment.get_template("card.md")


def cell(text):
    """A text of the user's as it can stand in a line or a cell of Markdown: on one line, nothing in it a mark."""
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", html.escape(" ".join(str(text).split()), quote=False))
