"""The script's models: their outermost modules, the encoder in them, and how single layers behave in training."""

import torch

from diagnosis.observe.guard import quietly
from diagnosis.record import facts, source


class Models:
    """The outermost modules that were called and hold parameters."""

    def __init__(self):
        self.roots, self.trained = {}, {}       # by id: all, and those of the passes that a backward followed
        self.encoder = None
        self.watched = {}               # id of a module inside them: 'encoder', 'activation' or 'norm'

    def knows(self, module):
        """Is this outermost module (part of) a model? It is then watched from here on."""
        if id(module) in self.roots:
            return True
        if type(module).__module__ == "torch.nn.modules.loss" or not any(True for _ in module.parameters()):
            return False
        self.roots[id(module)] = module
        encoder = facts.find_encoder(module)
        if encoder is not None and (self.encoder is None or not self.trained):
            self.encoder = encoder
            self.watched[id(encoder)] = "encoder"
        inside = {id(part) for part in encoder.modules()} if encoder is not None else set()
        for part in module.modules():
            if id(part) not in inside and isinstance(part, facts.ACTIVATIONS):
                self.watched[id(part)] = "activation"
            elif isinstance(part, facts.NORMS):
                self.watched[id(part)] = "norm"
        return True

    def outermost(self):
        """The trained modules (all, where none was trained) that lie in none of the others."""
        roots = list(self.trained.values()) or list(self.roots.values())
        return [root for root in roots if not any(root is not other and any(root is part for part in other.modules())
                                                  for other in roots)]


class Parameters:
    """Every parameter of the models seen and of the optimizers, once."""

    def __init__(self, models, optimizers):
        self.models, self.optimizers = models, optimizers
        self.counted, self.found = None, []     # what there was when they were gathered last, and what was found

    def all(self):
        optimizers = self.optimizers.by_id.values()
        counted = (len(self.models.roots), len(optimizers), sum(len(each.param_groups) for each in optimizers))
        if self.counted != counted:
            found = {id(each): each for root in self.models.roots.values() for each in root.parameters()}
            for optimizer in optimizers:
                found |= {id(each): each for group in optimizer.param_groups for each in group["params"]}
            self.counted, self.found = counted, list(found.values())
        return self.found


class Layers:
    """How single layers behave in training steps."""

    def __init__(self, guard):
        self.guard = guard
        self.zero_share = {}            # id of an activation: share of its outputs that are 0 for every row
        self.norm_rows = {}             # id of a BatchNorm: rows of the smallest batch
        self.training = {}              # id of a module: its training flag
        self.dropouts = {}              # (file, line) of a call of F.dropout: (probability, training)

    def norm_called(self, module, args):
        if module.training and args:
            self.norm_rows[id(module)] = min(int(args[0].shape[0]), self.norm_rows.get(id(module), 1 << 30))

    def activation_gave(self, module, output):
        if module.training and isinstance(output, torch.Tensor) and output.dim() > 1 and output.shape[0] > 1:
            with torch.no_grad():
                self.zero_share[id(module)] = float((output == 0).all(0).float().mean())

    def note_training_flags(self, model):
        self.training |= {id(module): module.training for module in model.modules()}

    @quietly
    def dropout_called(self, p, training, frame):
        if source.is_users(frame.f_code.co_filename):
            self.dropouts[frame.f_code.co_filename, frame.f_lineno] = (float(p), bool(training))
