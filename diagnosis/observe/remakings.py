"""Models that are made or loaded anew while the script trains, told by their weights at the begin of each step."""

import torch

from diagnosis.record import source
from diagnosis.record.record import Remaking

ENOUGH = 3              # models made anew: each is kept alive, with its optimizer, so no more of them are watched
WITNESSES = 3           # parameters that are compared with what they were before training
WITNESS_SIZE = 5_000_000    # weights; larger ones (word embeddings) are no witnesses


class Remakings:

    def __init__(self, checkpoints, optimizers):
        self.checkpoints, self.optimizers = checkpoints, optimizers
        self.models = {}                # id of an outermost module that was trained: (itself, its form)
        self.witnesses = None           # [(parameter, its value before training)]
        self.changed = False            # the witnesses once differed from that
        self.found = []                 # the Remakings

    def look(self, calls, before, steps):
        """A step begins. calls: those of the pass behind it; before: the model BeforeTraining; steps: made so far."""
        for call in calls:
            if id(call.module) not in self.models:
                self.new_model(call.module, steps)
        if self.witnesses is None:
            self.witnesses = witnesses_of(before)
        same = bool(self.witnesses) and all(torch.equal(now.detach().cpu(), then) for now, then in self.witnesses)
        if same and self.changed:
            self.note("loaded", self.loading_of(before.model), steps)
        self.changed = not same

    def new_model(self, module, steps):
        form = [(name, each.shape) for name, each in module.named_parameters()]
        alike = any(type(module) is type(other) and form == known for other, known in self.models.values())
        self.models[id(module)] = (module, form)
        if alike and steps:
            self.note("made", self.loading_of(module), steps)

    def loading_of(self, module):
        """(place, loops around it) of the latest checkpoint loaded into a model, else of the latest optimizer."""
        mine = {id(part) for part in module.modules()}
        for loading in reversed(self.checkpoints.loadings):
            if id(loading.model) in mine or any(part is module for part in loading.model.modules()):
                return loading.site, loading.loops
        making = next(reversed(self.optimizers.makings.values()), None)
        return (making.site, making.loops) if making is not None else (None, ())

    def note(self, how, loading, steps):
        site, around = loading
        before = next((each for each in self.found if each.how == how and each.site == site), None)
        if before is not None:
            before.at.append(steps)
            return
        found = Remaking("model", how, site, [steps])
        running = [loop for frame in reversed(source.user_frames()) for loop in source.loops_around(frame)]
        shared = [place for place, loop in enumerate(running) if (loop.file, loop.line) in around]
        if shared:
            loop = running[shared[-1]]
            found.loop, found.loops_within = source.make_site(loop.file, loop.line), len(running) - shared[-1] - 1
        self.found.append(found)

    def are_enough(self):
        return sum(len(each.at) for each in self.found if each.how == "made") >= ENOUGH


def witnesses_of(before):
    """The last matrices of the trained model that any step changes, with their values before training."""
    if before is None or before.state is None:
        return []
    able = [(tensor, before.state.get(described.name)) for described, tensor in zip(before.parameters, before.tensors)
            if described.trainable and tensor.dim() > 1 and tensor.numel() <= WITNESS_SIZE]
    return [(tensor, value) for tensor, value in able if value is not None][-WITNESSES:]
