"""ENSEMBLE: the mean of the best epochs' probabilities, and the mean of the last epochs' weights."""

import json
import shutil

import numpy
from sklearn.metrics import accuracy_score, f1_score
from torch import nn
from torch.optim.swa_utils import update_bn

from training.files import write_whole
from training.run.optimization import logits_of
from training.run.temperature import fit_temperature


def keep_for_ensemble(learner, place, progress, probabilities):
    """Keep model and probabilities of the ENSEMBLE best epochs, and average the weights of as many last ones."""
    folder, most = place.folder / "ensemble", place.settings.ENSEMBLE
    progress.ensemble.append({"epoch": progress.epoch, "val_macro_f1": progress.history[-1]["val_macro_f1"],
                              "probabilities": probabilities})
    progress.ensemble.sort(key=lambda kept: -kept["val_macro_f1"])
    dropped = progress.ensemble[most:]
    del progress.ensemble[most:]
    if not dropped or dropped[0]["epoch"] != progress.epoch:
        learner.kept.save_pretrained(folder / f"epoch-{progress.epoch}")
    for epoch in dropped:
        shutil.rmtree(folder / f"epoch-{epoch['epoch']}", ignore_errors=True)
    if progress.epoch > place.settings.NUM_EPOCHS - most:
        learner.averaged.update_parameters(learner.kept)


class OnBatches(nn.Module):
    """A model that takes a whole batch, as update_bn calls it."""

    def __init__(self, model, precision):
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, batch):
        return logits_of(self.model, batch, self.precision)


def say_ensemble(data, learner, place, progress, evaluate):
    """The scores of the two averages, on the screen and in ensemble.json, and where the models to them lie.

    Args:
        evaluate: the script's, (model, loader, precision) -> (logits of its rows in their order, loss).
    """
    scores = {}

    def note(what, shown, probabilities, where):
        predictions = probabilities.argmax(axis=1)
        scores[what] = {"accuracy": accuracy_score(data.labels, predictions),
                        "macro_f1": f1_score(data.labels, predictions, average="macro", zero_division=0)}
        print(f"{'':<11}{shown:<32}{scores[what]['accuracy']:>9.3f}{scores[what]['macro_f1']:>10.3f}   {where}")

    epochs = ", ".join(str(kept["epoch"]) for kept in progress.ensemble)
    note("probabilities", f"probabilities, epochs {epochs}",
         numpy.mean([kept["probabilities"] for kept in progress.ensemble], axis=0), place.folder / "ensemble")
    averaged, mean_model = int(learner.averaged.n_averaged), learner.averaged.module
    if averaged:        # none where the run stopped early
        loader, validation_loader = data.loaders
        loader.batch_sampler.skipped = 0
        update_bn(loader, OnBatches(mean_model, learner.precision))     # statistics of the mean weights
        logits, _ = evaluate(mean_model, validation_loader, learner.precision)
        mean_model.temperature = fit_temperature(logits, data.labels)
        mean_model.save_pretrained(place.folder / "averaged")
        note("weights", f"weights, last {averaged} epochs", logits.softmax(dim=1).numpy(), place.folder / "averaged")
    write_whole(place.folder / "ensemble.json", json.dumps(scores, indent=2) + "\n")
