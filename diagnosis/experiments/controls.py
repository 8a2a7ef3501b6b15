"""The controls one after the other on copies of the live objects, cheapest and most telling first, within a time box.

Each is seeded, gives its figures beside a baseline, and leaves the script's model, optimizer and random states as they
were. Whatever goes wrong in one is its reason for "not measured" and nobody else's business.
"""

import contextlib
import random
import time
import warnings

import numpy as np
import torch

from diagnosis.experiments.data import labels_from_features, labels_from_tokens
from diagnosis.experiments.live import SEED, Live, NoMeasurement    # noqa: F401 (Live is what a caller fills)
from diagnosis.experiments.rows import rows_apart
from diagnosis.experiments.training import input_matters, model_overfits, own_optimizer, rate_sweep
from diagnosis.record.record import Control

# Name, question, experiment(live, record, stop, done) -> (outcome, figures), the share of the time that it may take.
CONTROLS = (
    ("labels-from-tokens", "can the labels be predicted from the tokens?", labels_from_tokens, 0.3),
    ("labels-from-features", "can the labels be predicted from the frozen encoder's features?", labels_from_features,
     0.3),
    ("rows-apart", "does a row's output stay the same beside other rows?", rows_apart, 0.1),
    ("input-matters", "does the model tell its inputs apart after the steps seen?", input_matters, 0.12),
    ("model-overfits", "can this model learn one batch by heart with a plain optimizer?", model_overfits, 0.3),
    ("own-optimizer", "can the script's own optimizer learn that batch?", own_optimizer, 0.3),
    ("rate-sweep", "does the script's learning rate suit this model?", rate_sweep, 1.0))


def run_controls(live, record, seconds, names=None, spared=None):
    """Every control's outcome as list[Control]; `live` is None where no training step was seen (data only then).

    names   of those to be made, each then with all of the seconds; None: all of them
    spared  {name: why its answer could change no verdict}
    """
    ends, done = time.monotonic() + seconds, {}
    for name, question, experiment, share in CONTROLS:
        if names is not None:
            share = 1.0
            if name not in names:
                continue
        done[name] = Control(name, question)
        stop = min(ends, time.monotonic() + share * seconds)
        try:
            if name in (spared or {}):
                raise NoMeasurement(f"not needed: {spared[name]}")
            if stop - time.monotonic() < 0.02 * seconds:
                raise NoMeasurement("time: the controls before it took all of theirs")
            if live is None and "labels" not in name:
                raise NoMeasurement("no training step was seen that can be repeated")
            with as_it_was(live):
                done[name].outcome, done[name].figures = experiment(live, record, stop, done)
        except NoMeasurement as reason:
            done[name].reason, done[name].figures = str(reason), reason.figures
        except Exception as error:      # a copy of somebody else's model may fail in any way
            said = " ".join(f"the experiment failed: {type(error).__name__}: {error}".split())[:200]
            done[name].reason = "out of memory" if out_of_memory(error) else said
    return list(done.values())


def out_of_memory(error):
    """CUDA's libraries and the CPU's allocator have no exception of their own for it."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        words in str(error) for words in ("out of memory", "STATUS_ALLOC_FAILED", "can't allocate memory"))


@contextlib.contextmanager
def as_it_was(live):
    """Seeded inside; every global random state and switch as before outside."""
    python, numpy = random.getstate(), np.random.get_state()
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    device = next((parameter.device.type for parameter in live.model.parameters()), "cpu") if live else "cpu"
    with torch.random.fork_rng(devices=cuda), warnings.catch_warnings(), torch.inference_mode(False), \
            torch.enable_grad(), torch.autocast(device, enabled=False):
        warnings.simplefilter("ignore")
        random.seed(SEED), np.random.seed(SEED), torch.manual_seed(SEED)
        try:
            yield
        finally:
            random.setstate(python), np.random.set_state(numpy)
