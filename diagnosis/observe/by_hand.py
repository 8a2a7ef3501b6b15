"""Steps that no optimizer makes: the script itself changes the weights between a backward and the next pass."""

import torch

from diagnosis.observe.limits import is_close
from diagnosis.observe.steps import StepGoingOn

LOOKED_AT = 8       # weights with a gradient, the last ones, by which a change is noticed


class StepsByHand:
    """Looks for them where the script has made no optimizer."""

    def __init__(self, record, gradients, steps, parameters):
        self.record, self.gradients, self.steps, self.parameters = record, gradients, steps, parameters
        self.begun = None               # the StepGoingOn that the last backward may have begun

    def backward_ended(self):
        """What the weights and their gradients are from which the script may step."""
        norms = self.gradients.measure()
        held = [each for each in self.parameters.all() if id(each) in norms]
        if not is_close(self.record):
            held = held[-LOOKED_AT:]
        with torch.no_grad():
            self.begun = StepGoingOn(self.record.backward_site, False, norms,
                                     (held, [each.detach().clone() for each in held]),
                                     gradients=[each.grad.detach().clone() for each in held])

    def was_made(self):
        """Write the step down that the script made since the last backward; False where it made none."""
        if self.begun is None:
            return False
        now, weights = self.begun, self.begun.weights
        if all(torch.equal(each, before) for each, before in list(zip(*weights))[-LOOKED_AT:]):
            return False
        self.begun = None
        self.steps.made_by_hand(now, measured=is_close(self.record))
        return True
