"""What moves the weights: loss, optimizer, schedule, and the Learner that holds them together."""

import math
from dataclasses import dataclass, field

import numpy
import torch
import transformers
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.encoder.frozen import seeing_bottom
from training.precision import Precision
from training.run.team import ALONE, Team, with_team


def make_optimizer(model, learning_rate, weight_decay, layer_decay=1.0, head_rate=0.0):
    """AdamW over the trainable parameters; biases and norms, which have one dimension, are not decayed.

    The top layer, the pooler and the head have the learning rate, every layer below that of the layer above it times
    layer_decay (Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?"), the embeddings as a layer of their
    own; the head has head_rate where that is not 0.
    """
    parts = model.parts()
    below = [part for part in parts if part == "embeddings" or part.startswith("layer ")]
    rates = {part: learning_rate for part in parts} | {"head": head_rate or learning_rate}
    rates |= {part: learning_rate * layer_decay ** depth for depth, part in enumerate(reversed(below))}
    groups = {}
    for part, parameters in reversed(parts.items()):
        for parameter in parameters:
            if parameter.requires_grad:
                rate, decay = rates[part], weight_decay if parameter.dim() > 1 else 0.0
                groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})["params"].append(parameter)
    return torch.optim.AdamW(sorted(groups.values(), key=lambda group: (-group["lr"], -group["weight_decay"])),
                             lr=learning_rate, fused=True)


def count_steps(batches, accumulation, epochs):
    """Optimizer steps in an epoch and in all; a rest of fewer batches than accumulation makes a step of its own."""
    steps_per_epoch = math.ceil(batches / accumulation)
    return steps_per_epoch, steps_per_epoch * epochs


def make_schedule(optimizer, steps, warmup_ratio):
    """Linear warm-up and decay, counted in optimizer steps and to be stepped after each of them."""
    return transformers.get_linear_schedule_with_warmup(optimizer, warm_up_steps(steps, warmup_ratio), steps)


def warm_up_steps(steps, warmup_ratio):
    return round(warmup_ratio * steps)


MOST_AVERAGED = 0.25    # of a run's steps: an average over more would still hold the first weights at its end


def moving_average(model, back, steps):
    """The model with the exponential moving average of its weights, which update_parameters() moves on after each
    optimizer step; None where `back` is 0.

    It reaches `back` steps back (its decay is 1 - 1 / back), in short runs no further than a share of all steps.
    """
    if not back:
        return None
    back = max(1.0, min(back, MOST_AVERAGED * steps))
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / back))


def class_loss_weights(labels, classes, device):
    """Each class's weight in the loss: the inverse of its frequency, 1 on average; 1 too for a class without rows."""
    present = numpy.unique(labels)
    weights = numpy.ones(classes)
    weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return torch.tensor(weights, dtype=torch.float32, device=device)


def batch_loss(logits, labels, learner, weights_of_group):
    """The mean loss of the rows, each weighed by its class; of several processes' rows together, once their gradients
    are averaged. The rows' weight is put behind weights_of_group, the weights of the batches of this step.

    Of several batches to a step each is divided by the first one's weight, for want of their sum: see weigh_group.
    """
    loss = cross_entropy(logits, labels, learner.loss_weights, label_smoothing=learner.label_smoothing,
                         reduction="sum")       # for the mean with both options torch makes the host wait
    weight = torch.full((), float(len(labels)), device=logits.device) if learner.loss_weights is None else \
        learner.loss_weights[labels].sum()
    if learner.team.size > 1:
        torch.distributed.all_reduce(weight)
    weights_of_group.append(weight)
    return loss * learner.team.size / weights_of_group[0]


def weigh_group(gradients, weights):
    """Make gradients that were summed over several batches those of the mean over all their rows."""
    if len(weights) > 1:
        torch._foreach_mul_(gradients, weights[0] / torch.stack(weights).sum())


def logits_of(model, batch, precision, bottom=None):
    """Logits [rows, classes] in float32 of a batch from a loader; bottom: the BottomStates to learn its rows' from."""
    inputs = {name: batch[name].to(precision.device, non_blocking=True)
              for name in ("input_ids", "attention_mask", "token_type_ids", "bottom") if name in batch}
    layout = batch["layout"].to(precision.device) if "layout" in batch else None
    if "bottom" in inputs:
        inputs["bottom"] = inputs["bottom"].float()
    with precision.autocast():
        if bottom is None or "bottom" in batch:
            return model(**inputs, layout=layout).float()
        with seeing_bottom(model.encoder) as seen:
            logits = model(**inputs, layout=layout)
    lengths = batch["lengths"].numpy()
    states = seen[0][0, :lengths.sum()] if seen[0].shape[0] == 1 else seen[0][inputs["attention_mask"].bool()]
    bottom.keep(batch["rows"].numpy(), states, lengths)
    return logits.float()


@dataclass
class Learner:
    """The model and all that moves its weights."""
    model: nn.Module                # a BertSentimentClassifier, on its device
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    precision: Precision
    scaler: torch.amp.GradScaler
    team: Team = ALONE
    loss_weights: torch.Tensor | None = None    # of the classes
    label_smoothing: float = 0.0
    accumulation: int = 1           # forward passes per optimizer step
    max_grad_norm: float = 1.0      # 0: no clipping
    averaged: AveragedModel | None = None       # the weights' mean over the last ENSEMBLE epochs
    moving: AveragedModel | None = None         # their moving average over the steps
    wrapped: nn.Module = field(init=False)      # the model, or what keeps those of several processes alike

    def __post_init__(self):
        self.wrapped = with_team(self.model, self.team)

    @property
    def kept(self):
        """The model that is validated and saved: of the moving average where there is one."""
        return self.model if self.moving is None else self.moving.module
