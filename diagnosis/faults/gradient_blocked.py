"""trainable encoder parameters get no gradient (detach, no_grad, a rebuilt tensor)

What it is
    The way from the loss back to the encoder is cut: its output is detached, converted by numpy or torch.tensor, or
    made under torch.no_grad(), while its parameters are meant to be trained.

How it shows
    The head learns, the encoder stays bit for bit what it was (but for weight decay). The run looks like head-only
    training and stops where that stops.

How it is found
    The gradients of the encoder's layers at the measured steps: none or exactly zero at every step, while other
    parameters get some. Frozen layers do not count, nor does what only lies above the layer whose output is used. Where
    no encoder is known: parameters that are trainable, in the optimizer and have no gradient at every step, if they are
    most of the weights. Also the inputs of reentrant checkpointing, which passes no gradient on where none needs one.

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

from diagnosis.cures import mends
from diagnosis.record.arithmetic import rounded
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "model"
EFFECT = "stops"
CAUSED_BY = ("dead-head", "dropout-extreme", "loss-detached", "gradients-cleared", "non-finite", "fp16-overflow")

MOST = 0.5      # of the weights in the optimizer
ENOUGH = 2      # steps at which gradients were measured


def check(record):
    layers = {}
    for parameter in record.parameters:
        if parameter.part.startswith("layer ") and parameter.trainable:
            layers.setdefault(parameter.part, []).append(parameter)
    others = [parameter for parameter in record.parameters if parameter.trainable and parameter.gradient_norms]
    steps = max((len(parameter.gradient_norms) for parameter in others), default=0)
    if not layers and record.encoder is not None:
        return NotMeasured("the encoder has no trainable layer, or none was seen")
    if not record.parameters or steps < min(ENOUGH, max(1, record.optimizer_steps)):
        return NotMeasured("gradients were measured at too few steps")
    if not any(_gets_gradient(parameter) for parameter in others):
        return None             # nothing gets a gradient: the loss is at fault, not the way to the encoder
    if not layers:
        return _most_of_the_weights(record, others, steps)
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
        *_way_out(record, under))


def _most_of_the_weights(record, others, steps):
    """Where no encoder is known: trainable, in the optimizer, and not reached at any step."""
    held = [parameter for parameter in others if parameter.group is not None]
    without = [parameter for parameter in held if all(norm is None for norm in parameter.gradient_norms)]
    size = sum(parameter.elements for parameter in without)
    if not without or size < MOST * sum(parameter.elements for parameter in held):
        return None
    return Finding(
        "error", f"{len(without)} of {len(held)} tensors that the optimizer holds get no gradient",
        {"steps_measured": steps, "tensors_without_gradient": len(without), "tensors_in_optimizer": len(held),
         "weights_without_gradient": size, "names": [without[0].name, without[-1].name]},
        "These weights are meant to be trained and stay as they are; only what lies above the cut is learned.",
        *_way_out(record, under=False))


def _way_out(record, under):
    """(help, place) of a cut; under: the encoder runs under no_grad."""
    place = next((batch.site for batch in record.batches_of("training") if batch.site), record.backward_site)
    if under:
        return "Take the no_grad (or inference_mode) off the encoder's forward in training.", place
    if record.recomputed_site is not None:
        return ("Give checkpoint(...) use_reentrant=False: reentrant checkpointing passes no gradient on where none of its "
                "inputs needs one, as behind frozen embeddings (torch warns \"None of the inputs have "
                "requires_grad=True\").", record.recomputed_site)
    return ("Look between the encoder's output and the loss for detach(), .data, numpy() or torch.tensor(...) and take it "
            "out.", place)


def _gets_gradient(parameter):
    return any(norm is not None and norm != 0 for norm in parameter.gradient_norms)


def mend(record):
    return mends.Mend("the gradient let through detach(), no_grad() and reentrant checkpoints",
                      {"let_gradients_through": None, "all_in_optimizer": None})
