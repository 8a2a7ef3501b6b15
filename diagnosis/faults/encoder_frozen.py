"""no encoder layer is trainable (head only); a warning when the head still learns

What it is
    requires_grad is False for every layer of the encoder, so only the head is trained, on features that were made for
    something else.

How it shows
    With a head's rate (1e-3) it learns up to a point and stops there; with an encoder's (2e-5) the head hardly moves
    and the run looks stuck.

How it is found
    requires_grad of every parameter of the encoder's layers at the first step. Whether the head learns is told by the
    loss, and by the controls on the script's own optimizer.

Wrong
    for parameter in model.parameters():
        parameter.requires_grad = False
    for parameter in head.parameters():
        parameter.requires_grad = True

Right
    for parameter in encoder.embeddings.parameters():
        parameter.requires_grad = False

Not to be confused with
    Partial freezing. With nine of twelve layers frozen the top three still get their full gradient, since gradients
    need not pass through the frozen bottom; that is healthy. Adapters (LoRA), whose own weights are trained.
    optimizer-missing-params, where layers are trainable and no optimizer holds them.
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import rounded
from diagnosis.verdict.course import fails, holds, trend
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import is_learning

GROUP = "model"
EFFECT = "slows"
# Where these stand, the head does not learn because of them, and the frozen encoder is the lesser matter.
CAUSED_BY = ("schedule-per-epoch", "lr-zero", "no-optimizer-step", "gradients-cleared", "warmup-too-long", "loss-sign",
             "optimizer-missing-params", "labels-random", "double-softmax", "dead-head", "lr-too-high",
             "clip-too-tight", "head-frozen", "loss-mismatched")


def check(record):
    layers = [parameter for parameter in record.parameters if parameter.part.startswith("layer ")]
    if not layers:
        return NotMeasured("no encoder layer was seen in the trained model")
    if any(parameter.trainable or parameter.change for parameter in layers):
        return None             # from the beginning, or later: a first stage that trains the head alone
    trained = [parameter for parameter in record.parameters if parameter.trainable]
    learning = is_learning(record)
    works = learning or holds(record, "own-optimizer")
    doubtful = learning is False or fails(record, "own-optimizer")
    evidence = {
        "encoder_layers": len({parameter.part for parameter in layers}), "trainable_encoder_layers": 0,
        "trainable_parts": sorted({parameter.part for parameter in trained}), "trainable_tensors": len(trained)}
    if trend(record) is not None:
        evidence |= {"loss_first": rounded(trend(record).first), "loss_last": rounded(trend(record).last)}
    if learning is not None:
        evidence["head_learns"] = bool(works)
    frozen = [act for act in record.freezes if act.still_frozen]
    return Finding(
        "error" if not trained or (doubtful and not works) else "warning",
        "no encoder layer is trainable" + (", nor is anything else" if not trained else ": only "
                                           + " and ".join(evidence["trainable_parts"]) + " is trained"),
        evidence,
        "The features stay those of the pre-training; the head can only weigh them, and at an encoder's rate it hardly "
        "does that.",
        "Let the top layers be trained (requires_grad = True before the optimizer is made), or give a head on a frozen "
        "encoder a rate of about 1e-3.",
        frozen[0].site if frozen else record.encoder.made if record.encoder is not None else None)


def mend(record):
    return mends.all_trained(record)
