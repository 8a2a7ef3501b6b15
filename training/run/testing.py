"""The test rows: set aside before anything is chosen, and scored once, by the model that was chosen without them."""

import json
import math
from dataclasses import dataclass

import numpy
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score
from torch.utils.data import DataLoader

from training.files import write_whole
from training.report.scores import bootstrap
from training.run.baseline import Baseline
from training.run.results import classes_told, write_page
from training.run.screen import MOST_CLASSES_TOLD, say
from training.run.tally import NumbersGoneWrong
from training.run.trouble import RunError, rows_told
from training.texts.splitting import Overlap, numbered
from training.texts.tables import Table


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
    said = best_said(data.test, learner, place, evaluate)
    tested = scores_of(data, said)
    report, matrix = classes_told(data.names, data.test.labels, said)
    say_test_rows(data, progress, tested, f"{report}\n{matrix}")
    if place.writes:
        write_whole(place.folder / "test_scores.json", json.dumps(tested, indent=2, ensure_ascii=False) + "\n")
        write_whole(place.folder / "test_report.txt", f"{report}\n{matrix}")
        write_page(data, place, progress, tested)


def best_said(test, learner, place, evaluate):
    """The class numbers [rows] that the best epoch's model says of the test rows."""
    learner.model.load_state_dict(load_file(place.folder / "best" / "model.safetensors"))
    try:
        logits, _ = evaluate(learner.model, test.loader, learner.precision, team=learner.team)
    except NumbersGoneWrong as error:
        raise RunError(f"the best model's logits of test rows are not finite; {rows_told(test.table, error.rows)}") \
            from None
    return logits.argmax(dim=1).numpy()


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
    say("test", f"{tested['rows']:,} rows that chose nothing; intervals (95 %) from drawing "
                + (f"their {tested['groups']:,} groups anew" if tested["groups"] else "them anew"))
    inflated = f"   inflated: {max(shared.texts, shared.groups or 0.0):.0%} of the test rows stand in training" \
        if shared.inflates else ""
    print(f"{'':<11}{'':<28}{'accuracy':>9}{'':<18}{'macro-F1':>9}")
    for name, scores in tested["scores"].items():
        figures = "".join(f"{scores[figure]:>9.3f}{shown_interval(scores[figure + '_interval']):<18}"
                          for figure in ("accuracy", "macro_f1"))
        print(f"{'':<11}{name:<28}{figures.rstrip()}{inflated}")


def shown_interval(ends):
    return "" if any(map(math.isnan, ends)) else f"  {ends[0]:.3f} to {ends[1]:.3f}"
