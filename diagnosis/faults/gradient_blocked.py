"""trainable encoder parameters get no gradient (detach, no_grad, a rebuilt tensor)

What it is
    The way from the loss back to the encoder is cut: its output is detached, converted by numpy or torch.tensor, or
    made under torch.no_grad(), while its parameters are meant to be trained.

How it shows
    The head learns, the encoder stays bit for bit what it was (but for weight decay). The run looks like head-only
    training and stops where that stops.

How it is found
    The gradients of the encoder's layers at the measured steps: none or exactly zero at every step, while other
    parameters get some. Frozen layers do not count, nor does what only lies above the layer whose output is used.

Wrong
    with torch.no_grad():
        hidden = encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    logits = head(hidden[:, 0])

Right
    hidden = encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    logits = head(hidden[:, 0])

Not to be confused with
    encoder-frozen, where the encoder is frozen knowingly. A pooler that is not used. Frozen lower layers: gradients
    end there, and need not go on.
"""

import re

from diagnosis.record.arithmetic import rounded
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "model"
EFFECT = "stops"
CAUSED_BY = ("dead-head", "dropout-extreme", "loss-detached", "gradients-cleared", "non-finite", "fp16-overflow")

ENOUGH = 2      # steps at which gradients were measured


def check(record):
    layers = {}
    for parameter in record.parameters:
        if parameter.part.startswith("layer ") and parameter.trainable:
            layers.setdefault(parameter.part, []).append(parameter)
    if not layers:
        return NotMeasured("the encoder has no trainable layer, or none was seen")
    others = [parameter for parameter in record.parameters if parameter.trainable and parameter.gradient_norms]
    steps = max((len(parameter.gradient_norms) for parameter in others), default=0)
    if steps < min(ENOUGH, max(1, record.optimizer_steps)):
        return NotMeasured("gradients were measured at too few steps")
    if not any(_gets_gradient(parameter) for parameter in others):
        return None             # nothing gets a gradient: the loss is at fault, not the way to the encoder
    order = sorted(layers, key=lambda part: int(re.search(r"\d+", part)[0]))
    reached = [part for part in order if any(_gets_gradient(parameter) for parameter in layers[part])]
    blocked = [part for part in order if part not in reached]
    if reached:
        blocked = [part for part in blocked if order.index(part) < order.index(reached[-1])]
    if not blocked:
        return None
    without = [batch.gradient_enabled for batch in record.batches_of("training") if batch.gradient_enabled is not None]
    evidence = {
        "steps_measured": steps, "trainable_layers": len(order), "layers_without_gradient": len(blocked),
        "first_and_last_of_these": [blocked[0], blocked[-1]],
        "largest_head_gradient": rounded(max((norm for parameter in others if parameter.part == "head"
                                              for norm in parameter.gradient_norms if norm is not None), default=None))}
    if without:
        evidence["passes_under_no_grad_share"] = rounded(without.count(False) / len(without))
    under = bool(without) and without.count(False) > len(without) / 2
    return Finding(
        "error" if 2 * len(blocked) >= len(order) else "warning",
        f"{len(blocked)} of {len(order)} trainable encoder layers get no gradient"
        + (": the encoder runs under no_grad" if under else ""), evidence,
        "These layers are meant to be trained and stay as they are; only what lies above the cut is learned.",
        "Take the no_grad (or inference_mode) off the encoder's forward in training." if under else
        "Look between the encoder's output and the loss for detach(), .data, numpy() or torch.tensor(...) and take it "
        "out.",
        next((batch.site for batch in record.batches_of("training") if batch.site), record.backward_site))


def _gets_gradient(parameter):
    return any(norm is not None and norm != 0 for norm in parameter.gradient_norms)
