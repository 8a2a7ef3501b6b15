"""The gradients of a watched script: what backward calls leave, and what befalls it until the optimizer steps."""

from dataclasses import dataclass, field

import torch

from diagnosis.observe.guard import quietly
from diagnosis.observe.limits import is_close
from diagnosis.record import graph, source
from diagnosis.record.record import Clip


@dataclass
class Draft:
    """What is known of the step to come."""
    backwards: int = 0                  # backward calls since the step before
    norm_before: float = 0.0            # of the gradients that were present when the first of them began
    norm_after: float | None = None     # of all gradients after the last of them, where measured
    loss: object = None                 # 0-dim tensor: what backward was called on last, as it was (maybe scaled)
    factor: float = 1.0                 # by which a gradient scaler had multiplied it
    having: set = field(default_factory=set)        # ids of the parameters that had a gradient after the last of them
    cleared: bool = False               # zero_grad was called between backward and step
    clip: Clip | None = None


class Gradients:
    """The gradients that pile up until the step to come."""

    def __init__(self, guard, record, parameters, scaling):
        self.guard, self.record, self.parameters, self.scaling = guard, record, parameters, scaling
        self.draft = Draft()
        self.depth = 0                  # of backward calls within one another
        self.last = {}                  # {id of a parameter: norm} after the last backward that was measured

    @quietly
    def zero_grad_called(self):
        self.record.zero_grads += 1
        if self.record.zero_site is None:
            self.record.zero_site = source.site()
        if self.draft.backwards and self.draft.having:
            self.draft.cleared = True

    @quietly
    def clipped(self, kind, limit, norm, where):
        """kind: 'norm' or 'value'; norm: as it was before, None where it was not measured."""
        norm = None if norm is None or kind == "value" else float(norm)
        self.draft.clip = Clip(kind, float(limit), norm, self.scaling.on_gradients, where)

    def backward_begins(self, tensor, where):
        """The outermost backward call begins; tensor: what it runs on."""
        record, draft = self.record, self.draft
        record.backwards += 1
        draft.backwards += 1
        record.backward_site = record.backward_site or where
        with torch.no_grad():
            if draft.backwards == 1:
                present = [each.grad for each in self.parameters.all() if each.grad is not None]
                draft.norm_before = graph.total(graph.norms(present)) if present else 0.0
            if isinstance(tensor, torch.Tensor):
                draft.loss, draft.factor = tensor.detach().float().mean(), self.scaling.factor_of(tensor)
        self.scaling.backward_on(tensor)

    def backward_ended(self):
        """The outermost backward call is over."""
        with torch.no_grad():
            self.draft.having = {id(each) for each in self.parameters.all() if each.grad is not None}
            if self.draft.having and is_close(self.record):
                self.last = self.measure()
                self.draft.norm_after = graph.total(self.last.values())

    def measure(self):
        """{id of a parameter: its gradient's norm}, of all parameters that have one."""
        with torch.no_grad():
            having = [each for each in self.parameters.all() if each.grad is not None]
            return dict(zip(map(id, having), graph.norms([each.grad for each in having])))

    def begin_anew(self):
        """A step was made: what follows belongs to the next one."""
        self.draft = Draft()
