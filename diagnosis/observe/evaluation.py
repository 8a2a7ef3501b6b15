"""What a watched script does to judge its model: passes that no backward follows, and predictions held against labels.

Kept here as seen; which rows belong together is worked out at the stop (scores.py).
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from diagnosis.observe import fingerprints
from diagnosis.observe.guard import quietly
from diagnosis.record import facts, nested, source

MOST_PASSES = 3_000     # that are kept with their outputs
MOST_COMPARED = 4_000   # comparisons that are kept
KEPT_ROWS = 256         # of each evaluation, whose inputs are kept so that they can be run again


@dataclass
class Given:
    """What the model gave in one pass."""
    batch: object                       # its record.Batch
    roots: tuple                        # the outermost modules called, in order
    outputs: np.ndarray | None          # rows x outputs, of the last of them; None where it gave no such table
    keys: list                          # each row's token ids without padding, as tuples; empty where unknown
    iteration: object                   # of the loader that the rows come from, or None
    labels: list = field(default_factory=list)      # as the loss saw them
    calls: list = field(default_factory=list)       # (module, arguments, keyword arguments), copied; where kept
    origin: str | None = None           # of the weights, as fingerprints.origin tells it; of an evaluation's first pass
    trained_on: tuple = ()              # the TrainedOn of its module so far


@dataclass
class TrainedOn:
    """A loader that a module was trained on."""
    loader: object
    seen_loader: object
    anew: bool                          # the module stood as before its first step when it began


@dataclass
class Compared:
    """Two columns of as many rows that the script held against each other, or handed to a metric."""
    by: str                             # 'accuracy_score', '==' ...
    first: list
    second: list
    site: object
    passes: int                         # Given kept before it
    roles: bool                         # the first are known to be the labels, the second the predictions


class Evaluation:

    def __init__(self, guard, record):
        self.guard, self.record = guard, record
        self.given, self.compared = [], []
        self.first, self.last = {}, {}          # {id of a trained module: its Fingerprint before its first, after its
                                                # latest step}
        self.modules = {}                       # the trained modules themselves, by id
        self.trained_on = {}                    # {id of a module: list of its TrainedOn, each loader once}

    # passes

    def module_gave(self, now, pad_id):
        """An outermost module returned within a Pass."""
        if len(self.given) >= MOST_PASSES:
            return
        latest = self.given[-1] if self.given and self.given[-1].batch is now.batch else None
        call = now.calls[-1]
        if latest is not None and now.losses and all(call.module is not root for root in latest.roots) \
                and not torch.is_grad_enabled():
            return      # behind the pass's loss another model runs, as one that was saved and is loaded again
        outputs = outputs_of(call.output, now.batch.rows)
        keys = [tuple(row) for row in facts.strip_padding(now.ids, pad_id)] if now.ids is not None else []
        if latest is None:
            iteration = now.iteration
            if iteration is not None and iteration.trained and not iteration.active:
                iteration = None        # the epoch is over: these rows come from no loader
            latest = Given(now.batch, (), None, keys, iteration)
            self.given.append(latest)
            if self.last and not (torch.is_grad_enabled() and call.module.training):     # a training pass, most likely
                latest.origin = self.origin_of(call.module) if self.begins_evaluation() else self.given[-2].origin
        latest.roots += (call.module,)
        latest.trained_on += tuple(self.trained_on.get(id(call.module), ()))
        latest.outputs, latest.keys = outputs, keys
        if not torch.is_grad_enabled() and self.rows_kept() < KEPT_ROWS:
            latest.calls.append((call.module, nested.copied(tuple(call.args)), nested.copied(dict(call.kwargs))))

    def begins_evaluation(self):
        """Does the latest pass begin an evaluation, or go on with the one that the pass before belongs to?"""
        if len(self.given) < 2:
            return True
        before, latest = self.given[-2:]
        return before.batch.role == "training" or not same_evaluation(before, latest)

    def rows_kept(self):
        """Rows whose inputs were kept of the evaluation going on."""
        rows = 0
        for place in range(len(self.given) - 1, -1, -1):
            given = self.given[place]
            if given.batch.role == "training" or not same_evaluation(given, self.given[-1]):
                break
            rows += given.batch.rows if given is not self.given[-1] else 0
        return rows

    def origin_of(self, module):
        """Where the weights of an evaluated module come from, seen from whatever was trained last."""
        for key, trained in reversed(self.modules.items()):
            if key in self.last:
                found = fingerprints.origin(module, trained, self.first[key], self.last[key])
                if found is not None:
                    return found
        return None

    def trains(self, now):
        """A backward followed the pass."""
        given = self.given[-1] if self.given and self.given[-1].batch is now.batch else None
        if given is not None:
            given.outputs, given.calls = None, []
        loader = now.iteration.loader if now.iteration is not None else None
        for call in now.calls:
            before = self.trained_on.setdefault(id(call.module), [])
            if loader is not None and all(each.loader is not loader for each in before):
                first = self.first.get(id(call.module))
                anew = first is None or torch.equal(fingerprints.of(call.module).weights, first.weights)
                before.append(TrainedOn(loader, now.iteration.seen_loader, anew))

    # steps

    def step_begins(self, trained):
        """trained: the outermost modules of the training passes."""
        for module in trained:
            if id(module) not in self.first:
                self.first[id(module)], self.modules[id(module)] = fingerprints.of(module), module

    def step_ends(self, trained):
        for module in trained:
            if id(module) in self.first:
                self.last[id(module)] = fingerprints.of(module)

    # comparisons

    @quietly
    def argmax_of_one_column(self):
        self.record.one_column_argmax = self.record.one_column_argmax or source.site()

    @quietly
    def compares(self, by, first, second, roles):
        """The script holds one column against another; roles: labels first, predictions second."""
        if len(self.compared) >= MOST_COMPARED or not self.given:
            return
        first, second = column(first), column(second)
        if first is None or second is None or len(first) != len(second):
            return
        self.compared.append(Compared(by, first, second, source.site(), len(self.given), roles))


def same_evaluation(before, after):
    """Do two passes one after the other belong to one evaluation: through one model, over one pass of a loader?"""
    return before.iteration is after.iteration and before.roots[:1] == after.roots[:1] \
        and before.batch.step == after.batch.step


def outputs_of(output, rows):
    """The rows x outputs among what a module gave, as an array; None where there is none."""
    for _, leaf in nested.tensors(output):
        if leaf.is_floating_point() and leaf.dim() in (1, 2) and rows and leaf.shape[0] == rows:
            return leaf.detach().float().reshape(rows, -1).cpu().numpy()
    return None


def column(value):
    """One value per row as a list of numbers or texts; None for anything else."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.float().numpy() if value.is_floating_point() else value.numpy()
    value = np.asarray(value)
    if value.ndim == 2 and value.shape[1] == 1:
        value = value[:, 0]
    if value.ndim != 1 or not len(value):
        return None
    if value.dtype.kind == "f" and np.isfinite(value).all() and (value == value.round()).all():
        value = value.astype(int)
    if value.dtype.kind == "b":
        value = value.astype(int)
    if value.dtype.kind not in "iufUSO":
        return None
    values = value.tolist()
    return values if all(isinstance(entry, (int, float, str)) for entry in values) else None
