"""The test rows: set aside before anything is chosen, and scored once, by the model that was chosen without them."""

import csv
import io
import json
import math
from dataclasses import dataclass

import numpy
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score
from torch.utils.data import DataLoader

from training.encoder.hub_format import own_names
from training.files import write_whole
from training.report.scores import bootstrap, calibration, calibration_error
from training.run.baseline import Baseline
from training.run.results import classes_told, write_page
from training.run.screen import MOST_CLASSES_TOLD, say
from training.run.tally import NumbersGoneWrong
from training.run.trouble import RunError, rows_told
from training.texts.splitting import Overlap, numbered
from training.texts.tables import Table

PREDICTIONS = "test_predictions.csv"


@dataclass
class RowsToTest:
    """Rows that choose nothing, and what needs no encoder on them."""
    table: Table
    labels: numpy.ndarray           # class numbers
    overlap: Overlap                # with the rows that are trained on
    baseline: Baseline
    loader: DataLoader | None = None    # once there is a tokenizer

    def scores(self, predictions):
        """Of class numbers [rows] said by some model: accuracy and macro-F1, each with its interval, [low, high]."""
        groups = numbered(self.table.groups) if self.table.groups else numpy.arange(len(self.table))
        intervals = bootstrap(self.labels, predictions, groups)
        return {"accuracy": accuracy_score(self.labels, predictions), "accuracy_interval": intervals[0],
                "macro_f1": f1_score(self.labels, predictions, average="macro", zero_division=0),
                "macro_f1_interval": intervals[1]}


def score_test_rows(data, learner, place, progress, evaluate):
    """Score the best epoch's model and its baselines on the test rows: on the screen, in files, and in the page.

    Args:
        evaluate: the script's, (model, loader, precision, check, team) -> (logits of its rows in their order, loss).

    Raises:
        RunError: the model gives test rows no numbers.
    """
    logits = best_logits(data.test, learner, place, evaluate)
    said = logits.argmax(dim=1).numpy()
    tested = scores_of(data, said) | calibration_of(logits, said == data.test.labels, progress.best["temperature"])
    report, matrix = classes_told(data.names, data.test.labels, said)
    say_test_rows(data, progress, tested, f"{report}\n{matrix}")
    if place.writes:
        write_whole(place.folder / "test_scores.json", json.dumps(tested, indent=2, ensure_ascii=False) + "\n")
        write_whole(place.folder / "test_report.txt", f"{report}\n{matrix}")
        probabilities = (logits.double() / progress.best["temperature"]).softmax(dim=1).numpy()
        write_whole(place.folder / PREDICTIONS, predictions_csv(data, probabilities))
        write_page(data, place, progress, tested)


def predictions_csv(data, probabilities):
    """The test rows as bytes of a CSV: line in the file, texts, label, what the model says, the probabilities."""
    file, test = io.StringIO(), data.test
    seconds = test.table.seconds or [""] * len(test.table)
    writer = csv.writer(file)
    writer.writerow(["line", "text", "second_text", "label", "predicted", *(f"p({name})" for name in data.names)])
    for row, shares in enumerate(probabilities):
        writer.writerow([test.table.lines[row], test.table.texts[row], seconds[row], data.names[test.labels[row]],
                         data.names[shares.argmax()], *(f"{share:.6f}" for share in shares)])
    return file.getvalue().encode("utf-8")


def best_logits(test, learner, place, evaluate):
    """What the best epoch's model says of the test rows, [rows, classes]."""
    learner.model.load_state_dict(
        own_names(load_file(place.folder / "best" / "model.safetensors"), learner.model))
    try:
        return evaluate(learner.model, test.loader, learner.precision, team=learner.team)[0]
    except NumbersGoneWrong as error:
        raise RunError(f"the best model's logits of test rows are not finite; {rows_told(test.table, error.rows)}") \
            from None


def calibration_of(logits, right, temperature):
    """The calibration errors of the logits' probabilities as they are and with the temperature of validation."""
    errors = [calibration_error(calibration((logits.double() / by).softmax(dim=1).amax(dim=1).numpy(), right))
              for by in (1.0, temperature)]
    return {"temperature": temperature, "calibration_error_before": errors[0], "calibration_error": errors[1]}


def scores_of(data, said):
    """What test_scores.json holds: how many rows and groups, and the scores of the model and its baselines."""
    test = data.test
    always = numpy.full(len(test.table), data.names.index(test.baseline.largest_class))
    return {"rows": len(test.table), "groups": len(set(test.table.groups)), "scores": {
        "this model": test.scores(said), test.baseline.linear_model: test.scores(test.baseline.linear),
        f"always {test.baseline.largest_class}": test.scores(always)}}


def say_test_rows(data, progress, tested, of_classes):
    """The last table: the test rows' scores beside their baselines; above it those of the classes, if they are few."""
    best, shared = progress.best, data.test.overlap
    print(f"\n{of_classes}" if len(data.names) <= MOST_CLASSES_TOLD else "")
    say("best", f"epoch {best['epoch']} of {len(progress.history)}, chosen by macro-F1 on the validation rows "
                f"(accuracy {best['val_acc']:.3f}, macro-F1 {best['val_macro_f1']:.3f}); {best['encoder']}")
    inflated = f", INFLATED: {max(shared.texts, shared.groups or 0.0):.0%} of them stand in training" \
        if shared.inflates else ""
    say("test", f"{tested['rows']:,} rows that chose nothing{inflated}; intervals (95 %) from drawing "
                + (f"their {tested['groups']:,} groups anew" if tested["groups"] else "them anew"))
    print(f"{'':<11}{'':<28}{'accuracy':>9}{'':<18}{'macro-F1':>9}")
    for name, scores in tested["scores"].items():
        figures = "".join(f"{scores[figure]:>9.3f}{shown_interval(scores[figure + '_interval']):<18}"
                          for figure in ("accuracy", "macro_f1"))
        print(f"{'':<11}{name:<28}{figures.rstrip()}")
    say("", f"calibration error {tested['calibration_error']:.3f}, with the temperature {tested['temperature']:.2f} "
            f"that validation gave; {tested['calibration_error_before']:.3f} without")


def shown_interval(ends):
    return "" if any(map(math.isnan, ends)) else f"  {ends[0]:.3f} to {ends[1]:.3f}"
