"""trainable parameters are in no optimizer, or the optimizer holds another model's

What it is
    The optimizer was made from some other set of tensors than the model that is trained: before the head was
    replaced, from a copy of the model, from the head alone, or with a filter that caught too little.

How it shows
    The loss falls more slowly than it should, or not at all; gradients look fine everywhere. The forgotten weights
    are, bit for bit, what they were.

How it is found
    Trainable parameters that receive gradients and stand in no group of any optimizer, and weights in the groups that
    no part of the model used in the forward pass holds.

Wrong
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=2e-5)    # and the head?
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        model.zero_grad()

Right
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        model.zero_grad()

Not to be confused with
    Layers frozen by requires_grad = False; a pooler that the head does not use and that gets no gradient; two
    optimizers that share the parameters between them.
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import rounded
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("model-remade",)

MOST = 0.99     # of the weights in an optimizer, or with a gradient in none: as good as all
UNUSED = ("pooler",)    # parts that may be trainable and without use


def check(record):
    if not record.groups:
        return NotMeasured("no optimizer was seen")
    if not record.parameters:
        return NotMeasured("the model's parameters were not seen")
    measured = any(parameter.gradient_norms for parameter in record.parameters)
    used = [parameter for parameter in record.parameters if parameter.trainable and has_gradient(parameter, measured)]
    missing = [parameter for parameter in used if parameter.group is None]
    if not missing:
        return None
    size, whole = sum(parameter.elements for parameter in missing), sum(parameter.elements for parameter in used)
    foreign = sum(group.foreign_elements for group in record.groups)
    parts = list(dict.fromkeys(parameter.part for parameter in missing))
    held = {parameter.part for parameter in used if parameter.group is not None and len(parameter.shape) > 1}
    no_head = "head" in parts and "head" not in held
    trend = course.trend(record)
    title, level = told(size / whole, no_head, held, foreign, stands_still=trend is not None and not trend.falls)
    evidence = {"weights_in_no_optimizer": size, "share_of_trained_weights": rounded(size / whole),
                "parts": parts if len(parts) <= 6 else parts[:3] + ["..."] + parts[-2:],
                "tensors": len(missing), "names": [parameter.name for parameter in missing[:4]]}
    if foreign:
        evidence["weights_of_another_model_in_optimizer"] = foreign
    moved = [parameter.change for parameter in missing if parameter.change is not None]
    if moved:
        evidence["largest_change"] = max(moved)
    made = record.groups[0].made
    return Finding(level, title, evidence,
                   "backward computes gradients for these weights and no optimizer ever applies them",
                   "make the optimizer after the model is complete and from model.parameters()"
                   + ("; if the encoder is meant to be frozen, set requires_grad = False on its parameters"
                      if not no_head and held == {"head"} else ""), made)


def has_gradient(parameter, measured):
    """Some step saw a gradient for it; before any training: it is not one of the parts that may be idle."""
    if not measured:
        return parameter.part not in UNUSED
    return any(norm is not None and norm != 0 for norm in parameter.gradient_norms)


def told(share, no_head, held, foreign, stands_still):
    """(title, level): without a head, or with next to nothing, a run cannot learn; with the head alone it may."""
    if foreign and share >= MOST:
        return "the optimizer holds the weights of another model", "error"
    if share >= MOST and not held:
        return "the optimizer holds none of the trained weights", "error"
    if no_head:
        other = ": it holds another one's" if foreign else ""
        return f"the head that is trained is in no optimizer{other}", "error"
    if held == {"head"}:
        return "the encoder is trainable but in no optimizer: only the head is trained", \
            "error" if stands_still else "warning"
    return f"{100 * share:.2g} % of the trainable weights are in no optimizer", "warning"


def mend(record):
    return mends.all_in_optimizer(record)
