"""What each epoch leaves for people and programs: metrics.jsonl, the scores by class, report.html."""

import json
import time

from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, f1_score

from training.files import write_whole
from training.report.page import write_run_report
from training.run.folder import versions

PAGE_SECONDS = 20       # between two drawings of report.html while a run goes on


def epoch_figures(epoch, seen, val_loss, predictions, labels):
    """One line of metrics.jsonl."""
    return {"epoch": epoch, "train_loss": seen["loss"], "train_acc": seen["accuracy"], "val_loss": val_loss,
            "val_acc": accuracy_score(labels, predictions),
            "val_macro_f1": f1_score(labels, predictions, average="macro", zero_division=0),
            "lr": seen["rate"], "seconds": seen["seconds"], "samples_per_second": seen["rows"] / seen["seconds"],
            "tokens_per_second": seen["tokens"] / seen["seconds"],
            "padding_share": 1 - seen["tokens"] / seen["positions"], "skipped_steps": seen["skipped"]}


def classes_told(names, labels, predictions):
    """The classification report and the confusion matrix, as text."""
    numbers = range(len(names))
    report = classification_report(labels, predictions, labels=numbers, target_names=names, digits=3, zero_division=0)
    matrix = confusion_matrix(labels, predictions, labels=numbers)
    width = max(8, *(len(name) + 2 for name in names))
    lines = ["true \\ predicted".ljust(20) + "".join(name.rjust(width) for name in names)]
    lines += [name.ljust(20) + "".join(f"{count:>{width}}" for count in row) for name, row in zip(names, matrix)]
    return report, "\n".join(lines) + "\n"


def write_results(data, place, progress):
    """metrics.jsonl, and of the best epoch the classification report, the confusion matrix and, where it is time for
    it, report.html."""
    history, best, folder = progress.history, progress.best, place.folder
    write_whole(folder / "metrics.jsonl", "".join(json.dumps(epoch) + "\n" for epoch in history))
    report, matrix = classes_told(data.names, data.labels, best["probabilities"].argmax(axis=1))
    note = f"epoch {best['epoch']}, {best['encoder']}" + (f"; {data.warning}" if data.warning else "") + "\n\n"
    write_whole(folder / "classification_report.txt", note + report)
    write_whole(folder / "confusion_matrix.txt", note + matrix)
    if progress.finished or time.monotonic() - place.page_drawn > PAGE_SECONDS:
        write_page(data, place, progress)


def write_page(data, place, progress, tested=None):
    """report.html as the run stands now; tested: the test rows' scores, once there are any (testing.py)."""
    place.page_drawn = time.monotonic()
    write_run_report(place.folder, data, progress.history, progress.best, vars(place.settings),
                     place.facts | {"versions": versions()}, tested)
