"""What each epoch leaves for people and programs: metrics.jsonl, TensorBoard's events, the scores by class, pages."""

import json
import shutil
import tempfile
import time
from pathlib import Path

from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, f1_score

from training.files import write_whole
from training.report.card import write_card
from training.report.page import write_run_report
from training.run.folder import versions
from training.run.trouble import RunError

PAGE_SECONDS = 20       # between two drawings of report.html while a run goes on
TAGS = {"train_loss": "loss/training", "val_loss": "loss/validation", "train_acc": "accuracy/training",
        "val_acc": "accuracy/validation", "val_macro_f1": "macro-F1/validation", "lr": "rate"}     # of TensorBoard
RELOADED_ROWS = 32      # predicted by the saved model, loaded again, and compared
RELOADED_DIFFERENCE = 0.02      # of a probability; fp16 rounds less than so far, a layer that was not loaded moves more


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
    """metrics.jsonl and events; of the best epoch the classification report, the confusion matrix, the card and, where
    it is time for it, report.html."""
    history, best, folder = progress.history, progress.best, place.folder
    write_whole(folder / "metrics.jsonl", "".join(json.dumps(epoch) + "\n" for epoch in history))
    write_events(folder, history[-1])
    report, matrix = classes_told(data.names, data.labels, best["probabilities"].argmax(axis=1))
    note = f"epoch {best['epoch']}, {best['encoder']}" + (f"; {data.warning}" if data.warning else "") + "\n\n"
    write_whole(folder / "classification_report.txt", note + report)
    write_whole(folder / "confusion_matrix.txt", note + matrix)
    write_card(folder / "best", data, best, len(history), vars(place.settings),
               place.facts | {"versions": versions(), "sha256": place.sha256["TRAIN_PATH"]})
    if progress.finished or time.monotonic() - place.page_drawn > PAGE_SECONDS:
        write_page(data, place, progress)


def write_page(data, place, progress, tested=None):
    """report.html as the run stands now; tested: the test rows' scores, once there are any (testing.py)."""
    place.page_drawn = time.monotonic()
    write_run_report(place.folder, data, progress.history, progress.best, vars(place.settings),
                     place.facts | {"versions": versions()}, tested)


def write_events(folder, epoch):
    """One epoch's figures for TensorBoard, where tensorboard is installed; a repeated epoch takes its own place.

    The files are named by epoch: TensorBoard reads them in the order of their names, and drops what it takes for
    repeated; its own names of two files of one second may stand the wrong way round.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return
    with tempfile.TemporaryDirectory() as beside:
        with SummaryWriter(beside, purge_step=epoch["epoch"]) as writer:
            for figure, tag in TAGS.items():
                writer.add_scalar(tag, epoch[figure], epoch["epoch"])
        [written] = Path(beside).iterdir()
        shutil.move(written, Path(folder) / f"events.out.tfevents.{epoch['epoch']:010}")


def compare_reloaded(kind, data, best, folder):
    """Load the saved model again, of a kind of classifier, and say how far its probabilities are from those of the epoch
    that it is.

    Raises:
        RunError: it is another model than the one that was scored.
    """
    model = kind.from_pretrained(folder)
    model.temperature = 1.0     # as the epoch's probabilities were computed
    texts, seconds = data.validation.texts[:RELOADED_ROWS], (data.validation.seconds or [])[:RELOADED_ROWS]
    again = model.predict(texts, second_texts=seconds or None)[1]
    difference = float(abs(again - best["probabilities"][:RELOADED_ROWS]).max())
    if not difference <= RELOADED_DIFFERENCE:       # NaN too
        raise RunError(f"{folder}, loaded again, gives other probabilities than the model that was scored (by up to "
                       f"{difference:.2f}): do not use it; another MODEL_NAME, or the transformers that "
                       "requirements.txt names, may be saved whole")
    return f"{folder} loaded again: probabilities of {len(texts)} validation rows within {difference:.1g}"
