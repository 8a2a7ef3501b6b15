"""The state of a run: all that it needs to go on as if it had never been interrupted."""

import dataclasses
import hashlib
import json
import os
import pickle
import random
from dataclasses import dataclass

import numpy
import torch

from training.files import file_sha256, flush_to_disk, write_whole
from training.run.folder import versions
from training.run.screen import say
from training.run.tally import Tally
from training.run.team import from_all
from training.settings import SettingError

# These change nothing of what is learned: a run may be resumed with others. A moved table is known by its contents.
HARMLESS = ("TRAIN_PATH", "VAL_PATH", "TEST_PATH", "OUTPUT_DIR", "SAVE_EVERY", "RESUME")

STATES_KEPT = 2         # the newest, and the one before in case the newest is damaged


@dataclass
class Progress:
    """How far a run is."""
    epoch: int = 1              # the epoch under way
    step: int = 0               # optimizer steps in all, those that the scaler skipped among them
    tally: Tally | None = None  # of the epoch under way
    skipped_in_a_row: int = 0   # steps that the scaler had skipped one after the other when the last epoch ended
    history: list[dict] = dataclasses.field(default_factory=list)
    best: dict | None = None    # the best epoch's line of history and its probabilities [validation rows, classes]
    finished: bool = False
    ensemble: list[dict] = dataclasses.field(default_factory=list)     # the ENSEMBLE best epochs: number, macro-F1,
                                                                        # probabilities


def table_sums(settings):
    """Checksums of the files that a run's rows are made of; '' where it reads none."""
    synonyms = settings.SYNONYMS_PATH if "synonyms" in settings.AUGMENT else ""
    paths = {name: getattr(settings, name) for name in ("TRAIN_PATH", "VAL_PATH", "TEST_PATH", "CORRECTIONS_PATH")}
    return {name: file_sha256(path) if path else "" for name, path in (paths | {"SYNONYMS_PATH": synonyms}).items()}


def rows_sha256(*encoded):
    """A checksum of the rows as they reach the model: the same file, split and tokenizer give the same."""
    digest = hashlib.sha256()
    for rows in encoded:
        for array in (rows.ids, rows.starts, rows.labels, rows.second_starts):
            if array is not None:
                digest.update(numpy.ascontiguousarray(array))
    return digest.hexdigest()


def random_states():
    version, words, position, has_gauss, gauss = numpy.random.get_state()
    return {"python": random.getstate(), "torch": torch.get_rng_state(),
            "numpy": [version, words.tolist(), position, has_gauss, gauss],
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None}


def restore_random_states(states):
    random.setstate(states["python"])
    numpy.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"])


def state_name(progress):
    """Sorts by age. An epoch's end is of the next epoch, so that it has another name than its last step."""
    return f"epoch-{progress.epoch:04}-step-{progress.step:09}.pt"


def save_state(learner, place, progress):
    """Write the state beside, flush it, rename it, and put its checksum (as sha256sum writes it) behind it.

    Only then the oldest state goes. A state without checksum was not finished and counts for nothing. Of several
    processes all must call this, and the first writes what each of them has of its own.
    """
    folder = place.folder / "state"
    of_each = from_all(learner.team, {"random": random_states(), "tally": None if progress.tally is None else
                                      vars(progress.tally) | {"sums": progress.tally.sums.cpu()}})
    if not place.writes:
        return
    folder.mkdir(exist_ok=True)
    path = folder / state_name(progress)
    beside = path.with_suffix(".part")
    try:
        with open(beside, "wb") as file:
            torch.save(whole_state(learner, place, progress, of_each), file)
        flush_to_disk(beside)
        checksum = file_sha256(beside)
        os.replace(beside, path)
    except RuntimeError as error:       # torch.save hides what the system said of a full disk
        raise error.__context__ if isinstance(error.__context__, OSError) else error
    finally:
        beside.unlink(missing_ok=True)
    write_whole(path.with_suffix(".sha256"), f"{checksum}  {path.name}\n")
    for old in sorted(folder.glob("*.pt"))[:-STATES_KEPT]:
        old.with_suffix(".sha256").unlink(missing_ok=True)
        old.unlink()


def whole_state(learner, place, progress, of_each):
    """What torch.save writes: tensors and plain values; of_each: what each process has of its own."""
    best, probabilities = progress.best, None
    if best is not None:
        best, probabilities = best.copy(), torch.from_numpy(best["probabilities"])
        del best["probabilities"]
    about = {"epoch": progress.epoch, "step": progress.step, "finished": progress.finished,
             "skipped_in_a_row": progress.skipped_in_a_row, "history": progress.history, "best": best,
             "constants": vars(place.settings), "data": place.sha256, "versions": versions(),
             "device": str(learner.precision.device), "precision": learner.precision.name,
             "processes": learner.team.size,
             "best_sha256": file_sha256(place.folder / "best" / "model.safetensors") if best else None}
    return {"about": json.dumps(about), "probabilities": probabilities, "own": of_each,
            "ensemble": [epoch | {"probabilities": torch.from_numpy(epoch["probabilities"])}
                         for epoch in progress.ensemble],
            "averaged": learner.averaged.state_dict() if learner.averaged is not None else None,
            "moving": learner.moving.state_dict() if learner.moving is not None else None,
            "model": learner.model.state_dict(), "optimizer": learner.optimizer.state_dict(),
            "schedule": learner.schedule.state_dict(), "scaler": learner.scaler.state_dict()}


def newest_state(folder):
    """The newest state that is whole, or None where none was ever saved; says which ones were passed over.

    Raises:
        SettingError: there are states, and none of them is whole.
    """
    paths = sorted((folder / "state").glob("*.sha256"), reverse=True)
    for path in paths:
        state = path.with_suffix(".pt")
        try:
            if file_sha256(state) != path.read_text("ascii").split()[0]:
                raise ValueError("its checksum differs")
            return torch.load(state, map_location="cpu", weights_only=True)     # tensors and plain values, never code
        except Exception as error:      # a damaged file can raise anything
            problem = "it holds more than tensors and plain values" if isinstance(error, pickle.UnpicklingError) else \
                str(error) or type(error).__name__
            say("resume", f"passed over {state}: {problem.splitlines()[0]}")
    if paths:
        raise SettingError(f"{folder / 'state'}: none of the {len(paths)} saved states is whole; start anew with "
                           "another OUTPUT_DIR")
    return None


def refuse_other_run(about, place):
    """Refuse to go on where what is learned would not be what it was; say which harmless things differ.

    Raises:
        SettingError: constants or rows differ.
    """
    was, now, folder = about["constants"], vars(place.settings), place.folder
    differing = [name for name in now if name not in was or was[name] != now[name]]
    harmful = [f"{name} was {was.get(name, 'unknown')!r} and is {now[name]!r}" for name in differing
               if name not in HARMLESS]
    if harmful:
        raise SettingError(f"{folder} was begun with other constants, and what is learned depends on them: "
                           f"{'; '.join(harmful)}. Give them as they were, or start anew with another OUTPUT_DIR")
    for name, what in (("TRAIN_PATH", "training file"), ("VAL_PATH", "validation file"), ("TEST_PATH", "test file"),
                       ("CORRECTIONS_PATH", "corrections file"), ("SYNONYMS_PATH", "synonyms file"),
                       ("rows", "tokenized rows")):
        if about["data"].get(name, place.sha256[name]) != place.sha256[name]:   # earlier versions noted fewer
            raise SettingError(f"{folder} was begun with another {what}{f' than {now[name]}' if name in now else ''}; "
                               "give it as it was, or start anew with another OUTPUT_DIR")
    harmless = [name for name in differing if name not in ("RESUME", "OUTPUT_DIR")]
    if harmless:
        say("", f"{', '.join(harmless)} changed since, which changes nothing of what is learned")
    changed = [f"{name} {old} (now {versions().get(name)})" for name, old in about["versions"].items()
               if versions().get(name) != old]
    if changed:
        say("", f"begun with {', '.join(changed)}: the figures will not be the same bit for bit")


def resume(learner, place):
    """Put the learner where its newest whole state was saved; the Progress of then, None where there is no state.

    Raises:
        SettingError: the run was begun otherwise, so that what is learned would not be what it was.
    """
    state = newest_state(place.folder)
    if state is None:
        say("resume", f"{place.folder} has no saved state: the run begins at the start")
        return None
    about = json.loads(state["about"])
    progress = Progress(about["epoch"], about["step"], skipped_in_a_row=about.get("skipped_in_a_row", 0),
                        history=about["history"], best=about["best"], finished=about["finished"])
    say("resume", f"epoch {progress.epoch}, after {progress.step:,} optimizer steps, from {place.folder}"
        if not progress.finished else f"{place.folder} is finished: nothing is left to train")
    refuse_other_run(about, place)
    if about["processes"] != learner.team.size:
        raise SettingError(f"{place.folder} was begun with {about['processes']} processes, not {learner.team.size}, and "
                           "what is learned depends on that: a batch is as many times BATCH_SIZE")
    own, device = state["own"][learner.team.rank], learner.precision.device
    before, now = about["device"], str(device)
    if before == now and "precision" in about:      # another device has its own
        before, now = f"{before} in {about['precision']}", f"{now} in {learner.precision.name}"
    if before != now:
        say("", f"begun on {before}, going on on {now}: the figures will not be the same bit for bit")
    for name in ("model", "optimizer", "schedule", "scaler", "averaged", "moving"):
        if getattr(learner, name) is not None and state[name]:      # a scaler at rest, as on a CPU, has an empty state
            getattr(learner, name).load_state_dict(state[name])
    progress.ensemble = [epoch | {"probabilities": epoch["probabilities"].numpy()} for epoch in state["ensemble"]]
    if own["tally"] is not None:
        progress.tally = saved_tally(own["tally"], device)
    take_best(progress, place, state["probabilities"], about["best_sha256"])
    restore_random_states(own["random"])
    return progress


def saved_tally(saved, device):
    """The tally of the epoch under way; says so where an earlier version of this script saved it."""
    fields = {field.name for field in dataclasses.fields(Tally)}
    if saved.keys() - fields:
        say("", "saved by an earlier version, which ordered batches and schedule otherwise: the figures will not be the "
                "same bit for bit")
    tally = Tally(**{name: value for name, value in saved.items() if name in fields})
    tally.sums = tally.sums.to(device)
    return tally


def take_best(progress, place, probabilities, sha256):
    """Give the best epoch its probabilities, or forget it where an epoch after this state has written over its model.

    Raises:
        SettingError: the run is finished, and its model is not the one that it saved.
    """
    if progress.best is None:
        return
    weights = place.folder / "best" / "model.safetensors"
    if weights.is_file() and file_sha256(weights) == sha256:
        progress.best["probabilities"] = probabilities.numpy()
    elif progress.finished:
        raise SettingError(f"{weights} is not the model that the finished run saved")
    else:       # that epoch is about to be repeated
        progress.best = None
