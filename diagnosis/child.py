"""The observed half of an examination: python child.py <record.json> <script> [its arguments].

Runs one script under observation and ends this process when enough was seen; then the record is written, part by part,
and last the controls, made on copies of the live objects. The script sees what it would see if it were run itself:
sys.argv, sys.path[0], __main__ with its file, its working directory. The other half is examine.py.

In the trial of a cure the changes named in the environment (processes.py) are made to the run, and no look is taken
beyond its steps. The random numbers begin alike in all runs of a script that does not seed them itself.
"""

import builtins
import json
import linecache
import os
import random
import sys
import time
import types

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if __name__ == "__main__":
    sys.path[0] = ROOT      # in place of this file's folder, until the script's own takes its place

import numpy  # noqa: E402
import torch  # noqa: E402

from diagnosis.cures import changes  # noqa: E402
from diagnosis.experiments import replay  # noqa: E402
from diagnosis.experiments.controls import Live, run_controls  # noqa: E402
from diagnosis.observe import assemble, inputs, notebooks, patches, ranks, scores, untouched  # noqa: E402
from diagnosis.observe.patches import comparisons  # noqa: E402
from diagnosis.observe.observer import Observer  # noqa: E402
from diagnosis.observe.plan import planned_rates  # noqa: E402
from diagnosis.observe.untouched.old_files import OldFiles  # noqa: E402
from diagnosis.processes import CHANGES  # noqa: E402
from diagnosis.record import record as records  # noqa: E402
from diagnosis.record import source  # noqa: E402
from diagnosis.verdict import outcome  # noqa: E402

CONTROL_SECONDS = 25    # for the controls
TRIAL_SECONDS = 5       # for the one control of a trial
RATES = 60              # optimizer steps whose rates the controls get
SEED = 0                # of a script that sets none


def main(path, script, arguments):
    """Does not return, but for a rank that is not watched."""
    path = os.path.abspath(path)

    def write_record(record):
        write(record, path)

    record = records.Record(target=str(script), arguments=list(arguments))
    for own in (path, f"{path}.part"):
        if os.path.exists(own):         # of an examination before this one: an old file that may be written
            os.remove(own)
    old_files = OldFiles(f"{path}.instead")
    untouched.install(old_files)
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(os.path.realpath(script))
    if ranks.own_rank():
        run(os.path.abspath(script))        # of a rank that only runs along
        return
    changed = json.loads(os.environ.pop(CHANGES, "null"))
    seed()
    observer = Observer(record, script, old_files, replay.make, write_record,
                        conclude if changed is None else conclude_trial)
    patches.install(observer)
    if changed is not None:
        observer.stopping.looks_ahead = False
        changes.install(observer, changed)
    try:
        run(os.path.abspath(script))
    except BaseException as error:
        observer.crashed(error)
    observer.finish("script ended")


def seed():
    random.seed(SEED), numpy.random.seed(SEED), torch.manual_seed(SEED)


def run(file):
    """Execute a file as __main__, so that processes which it spawns and pickles find their way."""
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=file, __builtins__=builtins, __spec__=None, __loader__=None, __cached__=None,
                           __annotations__={})
    sys.modules["__main__"] = module
    code = comparisons.compiled(source.load(file), file)
    ranks.surround_reader("".join(linecache.getlines(file)))
    if source.is_notebook(file):
        notebooks.watch_imports()
        del module.__file__
        module.__dict__.update(notebooks.names())
    exec(code, module.__dict__)


def conclude(observer):
    """At the stop: fill the record, writing it after each part, make the controls and write it again."""
    record, attempt = observer.record, observer.guard.attempt
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False), \
            torch.autocast("cuda", enabled=False):
        observer.before_training = observer.before_training or attempt(observer.describe_model)
        for part in (assemble.fill, inputs.fill_splits, scores.fill_scores, inputs.fill_tokenizer,
                     assemble.fill_settings):
            attempt(part, observer)
            observer.write(record)
        live = live_objects(observer)
        if live is not None:
            spared = attempt(without_effect, record) or {}
            record.controls = attempt(run_controls, live, record, CONTROL_SECONDS, None, spared) or []
        record.seconds = time.monotonic() - observer.began
    observer.write(record)


def without_effect(record):
    """{name of a control: why its answer could change no verdict}."""
    return {"rate-sweep": "the run learns at its own rate"} if outcome.measured(record) == outcome.LEARNS else {}


def conclude_trial(observer):
    """At the stop of a trial: what comparing it with the run as it is needs."""
    record, attempt = observer.record, observer.guard.attempt
    with torch.inference_mode(False), torch.enable_grad():
        observer.before_training = observer.before_training or attempt(observer.describe_model)
        attempt(assemble.fill, observer)
        live = live_objects(observer)
        if live is not None:
            record.controls = attempt(run_controls, live, record, TRIAL_SECONDS, ("input-matters",)) or []
    observer.write(record)


def live_objects(observer):
    """What the controls need; None where no training batch can be run again."""
    before, record = observer.before_training, observer.record
    if before is None:
        return None
    batches = [replay.for_model(kept, before.model) for kept in observer.kept_batches]
    batches = [batch for batch in batches if batch is not None]
    if not batches:
        return None
    optimizer = main_optimizer(observer)
    seen = record.batches_of("training")
    batch_size = record.training.batch_size or (seen[0].rows if seen else 0)
    return Live(before.model, batches[0], batch_size, optimizer, planned_rates(observer, optimizer, RATES),
                before.state, batches[1:], lambda: inputs.features(observer), batches[0])


def main_optimizer(observer):
    """The optimizer that holds most of the weights with a gradient; None where there is none."""
    sizes = {id(tensor): tensor.numel() for tensor in observer.before_training.tensors
             if id(tensor) in observer.gradients.last}
    return max(observer.optimizers.used(), default=None, key=lambda optimizer: sum(
        sizes.get(id(tensor), 0) for group in optimizer.param_groups for tensor in group["params"]))


def write(record, path):
    """Atomically, so that a reader never sees half a record."""
    beside = f"{path}.part"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(records.to_json(record))
    os.replace(beside, path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
