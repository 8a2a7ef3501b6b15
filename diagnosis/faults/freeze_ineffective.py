"""code that means to freeze freezes nothing (requires_grad on a module, parameters replaced later)

What it is
    requires_grad is a property of parameters. Set on a module it is one more attribute that nobody reads, as is a
    misspelt name on a parameter. Freezing parameters that are replaced afterwards (a checkpoint loaded into a new
    model, a model made anew) freezes the old ones.

How it shows
    No message. All layers are trained although the code says otherwise; memory and time are those of full training.

How it is found
    Lines that set requires_grad, or look as if they did, are held against the parameters that are trained.

Wrong
    encoder.embeddings.requires_grad = False
    assert all(parameter.requires_grad for parameter in encoder.embeddings.parameters())

Right
    for parameter in encoder.embeddings.parameters():
        parameter.requires_grad = False
    assert not any(parameter.requires_grad for parameter in encoder.embeddings.parameters())

Not to be confused with
    Layers frozen and later set free on purpose (freeze all, then the top ones again; gradual unfreezing). A teacher or
    an averaged copy of the model, which is frozen beside the trained one.
"""

import re

from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "model"
EFFECT = "slows"
CAUSED_BY = ()
NO_TRIAL = "the run learns with what was meant to be frozen"

BESIDE = re.compile(r"teacher|ema|swa|averag|shadow|reference|ref_|target|copy|momentum", re.IGNORECASE)


def check(record):
    if not record.parameters:
        return NotMeasured("no trained model was seen")
    encoder = [parameter for parameter in record.parameters if parameter.part != "head"]
    if encoder and not any(parameter.trainable for parameter in encoder):
        return None             # all of it is frozen, by whatever line
    for act in record.freezes:
        if act.kind in ("module", "misspelt") and (not act.tensors or act.still_frozen < act.tensors):
            if act.kind == "module":
                what = "requires_grad is set on a module, which freezes nothing"
                why = "A module has no requires_grad: the line adds an attribute that nothing reads."
            else:
                what = "an attribute that parameters do not have is set, which freezes nothing"
                why = "Python lets any attribute be added to a parameter; only requires_grad has a meaning."
            return _finding(record, act, what, why)
        if act.kind == "parameter" and act.tensors and not act.in_model and not BESIDE.search(act.site.code):
            return _finding(record, act, "parameters were frozen that are not in the trained model",
                            "The frozen parameters were replaced, or belong to another model: those trained are free.")
    return None


def _finding(record, act, title, why):
    trainable = sum(parameter.trainable for parameter in record.parameters)
    return Finding(
        "warning", title, {
            "line": act.site.code, "tensors_meant": act.tensors, "of_these_in_the_trained_model": act.in_model,
            "of_these_frozen": act.still_frozen, "trainable_tensors": trainable,
            "all_tensors": len(record.parameters)},
        why + " All layers are trained although the code means otherwise.",
        "Write for parameter in module.parameters(): parameter.requires_grad = False (or module.requires_grad_(False)) "
        "on the model that is trained, before the optimizer is made.",
        act.site)
