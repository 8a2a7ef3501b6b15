"""The folder of a run: chosen, kept from other runs, and saying what the run is."""

import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy
import sklearn
import torch
import transformers
from filelock import FileLock, Timeout

from training.encoder.hub_format import same_class
from training.files import write_whole
from training.settings import SettingError


@dataclass
class Place:
    """Where a run's results go, and what they say it is."""
    folder: Path
    lock: FileLock | None       # None until the folder is made
    writes: bool                # this process writes there: of several the first one alone
    settings: SimpleNamespace
    sha256: dict                # of the tables' files and of the tokenized rows
    facts: dict                 # for config.json
    hopeless: Callable = lambda history: ""     # why to stop after these epochs, or ""
    page_drawn: float = field(default_factory=time.monotonic)   # when report.html was written last, or the run began


def choose_run_folder(wanted, resume):
    """(the folder of this run, its lock or None): the one wanted, or with a number behind it where that exists.

    A new folder is made with the first thing to save. One to resume from is locked at once.

    Raises:
        SettingError: nothing can be written there, or another run is at work there.
    """
    folder = Path(wanted)
    if resume and folder.is_dir():
        return folder, lock_folder(folder)
    number = 1
    while folder.exists():
        number += 1
        folder = Path(f"{wanted}-{number}")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    try:        # what the permissions say is not enough: to root /proc and a file system mounted read-only look open
        with tempfile.TemporaryDirectory(dir=above):
            return folder, None
    except OSError as error:
        raise SettingError(f"OUTPUT_DIR {wanted!r} cannot be made: nothing can be written to {above} "
                           f"({error.strerror}); name another") from None


def lock_folder(folder):
    """Keep other runs out of a folder for as long as this process lives; the system frees the lock when it dies."""
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SettingError(f"{folder}: another run is at work there; wait for it, or name another OUTPUT_DIR") from None
    except OSError as error:
        raise SettingError(f"{folder} cannot be written to: {error.strerror}") from error
    return lock


def make_folder(place):
    """Make the run's folder, lock it and say in it what the run is; nothing where it has one already."""
    if not place.writes:
        return
    while place.lock is None:
        try:
            place.folder.mkdir(parents=True)
        except FileExistsError:         # another run was quicker
            place.folder, _ = choose_run_folder(place.settings.OUTPUT_DIR, resume=False)
            continue
        place.lock = lock_folder(place.folder)
    if not (place.folder / "config.json").exists():
        config = {"constants": vars(place.settings), **place.facts, "versions": versions()}
        write_whole(place.folder / "config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def facts_of(data, learner, steps):
    """What config.json tells of a run beside its constants."""
    return {"encoder": learner.model.encoder_name, "pooling": learner.model.pooling,
            "device": str(learner.precision.device), "precision": learner.precision.name, "label_names": data.names,
            "same_class": same_class(learner.model),
            "training_rows": len(data.training), "validation_rows": len(data.validation),
            "test_rows": 0 if data.test is None else len(data.test.table),
            "processes": learner.team.size, "dropped": data.dropped, "optimizer_steps": steps,
            "trainable_parameters": learner.model.trainable_parameters(),
            "validation_texts_in_training": data.overlap.texts, "validation_groups_in_training": data.overlap.groups,
            "baseline": data.baseline.figures()}


def precision_begun_in(folder):
    """The name of the Precision of the run whose folder this is; None where none was begun there."""
    try:
        return json.loads((folder / "config.json").read_text("utf-8"))["precision"]
    except (OSError, ValueError, LookupError):      # no run's, or a damaged one: the state is asked in resume()
        return None


def versions():
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__,
            "transformers": transformers.__version__, "scikit-learn": sklearn.__version__}
