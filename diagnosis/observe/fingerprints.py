"""A few weights of every parameter of a model, kept at moments of its training: is another model, or this one later,
the same?"""

from dataclasses import dataclass

import torch

from diagnosis.record import facts

WEIGHTS = 32            # of each parameter
WRAPPERS = ("_orig_mod.", "module.")


@dataclass
class Fingerprint:
    """weights: one vector, the parameters one after the other; spans: {name: (id, first place, count, shape)}."""
    weights: torch.Tensor
    spans: dict


def of(module):
    """The Fingerprint of a module as it stands; None where it has no weights."""
    parts, spans, first = [], {}, 0
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not parameter.numel() or parameter.device.type == "meta":
                continue
            part = parameter.detach().reshape(-1)[::max(1, parameter.numel() // WEIGHTS)][:WEIGHTS].float()
            spans[bare(name)] = (id(parameter), first, len(part), tuple(parameter.shape))
            parts.append(part)
            first += len(part)
        return Fingerprint(torch.cat(parts).cpu(), spans) if parts else None


def bare(name):
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def origin(module, trained, first, last):
    """Where an evaluated module's weights come from, by the parameters that training moved.

    trained, first, last    the trained module, its Fingerprint before its first step and after its latest one
    Gives 'trained' (as they were after the latest step), 'untrained' (as before the first one), 'fresh head' (a trained
    encoder under a head that was not trained), 'fresh head on an untrained encoder', 'other' (an average, an earlier
    state, a checkpoint); None where the two cannot be compared or nothing has moved.
    """
    now = of(module)
    pairs = matched(now, last) if now is not None else {}
    encoder = facts.find_encoder(module)
    inside = {id(parameter) for parameter in encoder.parameters()} if encoder is not None else set()
    states = {True: [], False: []}          # of the parameters inside the encoder, of the others
    at_first, at_last = first.weights.numpy(), last.weights.numpy()
    for name, (mine, theirs) in pairs.items():
        state = state_of(now.weights.numpy()[mine], at_first[theirs], at_last[theirs])
        if state is not None:
            states[now.spans[name][0] in inside].append(state)
    return summed_up(states[True], states[False])


def matched(now, trained):
    """{name: (its span in the one, in the other)}: the same parameter, else by name and shape; {} where they differ."""
    by_id = {span[0]: span for span in trained.spans.values()}
    found = {}
    for name, (key, start, count, shape) in now.spans.items():
        other = by_id.get(key) or trained.spans.get(name)
        if other is not None and other[3] == shape:
            found[name] = slice(start, start + count), slice(other[1], other[1] + other[2])
    return found if 2 * len(found) > max(len(now.spans), len(trained.spans)) else {}


def state_of(now, first, last):
    """'last', 'first' or 'other' by the weights, as arrays, that training moved; None where it moved none."""
    moved = first != last
    if not moved.any():
        return None
    if (now == last)[moved].all():
        return "last"
    return "first" if (now == first)[moved].all() else "other"


def summed_up(encoder, head):
    """The origin, from the states of the encoder's and of the head's parameters."""
    if not encoder and not head:
        return None
    states = set(encoder + head)
    if states == {"last"}:
        return "trained"
    if states == {"first"}:
        return "untrained"
    if len(encoder) >= 4 and set(encoder) == {"first"} and "last" not in head:
        return "fresh head on an untrained encoder"
    if len(encoder) >= 4 and set(encoder) == {"last"} and head and "last" not in head:
        return "fresh head"
    return "other"
