"""The gradient scaler of a watched script: what it multiplied, and the steps that it makes or skips."""

from dataclasses import dataclass

from diagnosis.observe.guard import quietly
from diagnosis.record import source


@dataclass
class ScalerStep:
    """One call of scaler.step() that is going on."""
    scale: float
    site: object
    stepped: bool = False               # the optimizer's own step was called from it


class Scaling:

    def __init__(self, guard, record):
        self.guard, self.record = guard, record
        self.factor, self.scaled_loss = None, None      # of the latest scaler.scale(): its factor and what it gave
        self.on_gradients = False       # a factor above 1 is still on the gradients
        self.step = None                # the ScalerStep going on

    @quietly
    def scaled(self, scaler, result):
        if scaler.is_enabled():
            self.record.scaler_used = True
            self.factor, self.scaled_loss = float(scaler.get_scale()), result

    @quietly
    def unscaled(self):
        self.on_gradients = False

    def factor_of(self, tensor):
        """The factor that the scaler put on this tensor; 1 for any other."""
        return (self.factor if self.scaled_loss is tensor else None) or 1.0

    def scaled_like(self, tensor, loss):
        """The loss, multiplied as the scaler did with the tensor in whose place it stands from now on."""
        if self.scaled_loss is not tensor or tensor is None:
            return loss
        self.scaled_loss = loss * self.factor
        return self.scaled_loss

    def backward_on(self, tensor):
        if self.factor_of(tensor) > 1:
            self.on_gradients = True

    @quietly
    def step_begins(self, scaler):
        if scaler.is_enabled():
            self.step = ScalerStep(float(scaler.get_scale()), source.site())

    def take_step(self):
        """The ScalerStep that ends now; None where none was going on."""
        ended, self.step = self.step, None
        return ended
