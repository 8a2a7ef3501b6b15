"""validation runs in training mode

What it is
    model.eval() was not called before validation: dropout throws away a tenth of every layer while the model is being
    judged, and BatchNorm normalizes by the validation batch and even learns from it.

How it shows
    Validation figures that are lower than they should be and differ from call to call with the same weights.

How it is found
    The training flags of encoder and model in forward passes without gradient or without a backward after them, and
    whether there is dropout or BatchNorm for which they matter.

Wrong
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        guesses = [model(**batch).logits.argmax(-1) for batch in validation_loader]

Right
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        guesses = [model(**batch).logits.argmax(-1) for batch in validation_loader]
    model.train()

Not to be confused with
    Training steps in eval mode (eval-mode); a single forward pass for trying shapes; a model without dropout and
    BatchNorm, which does not care.
"""

from diagnosis.record.record import place
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "evaluation"
EFFECT = "misleads"
CAUSED_BY = ()
NO_TRIAL = "the training is not what is wrong"

MOSTLY = 0.5        # of the validation passes
FEWEST = 3          # passes in a row that no backward follows, where gradients were not turned off
NORMS = "BatchNorm"


def check(record):
    passes = validation_passes(record)
    if not passes:
        return NotMeasured("no validation pass was seen")
    encoder = dropouts(record, inside=True)
    head, norms = dropouts(record, inside=False), [module for module in record.modules if NORMS in module.kind]
    wrong = [batch for batch in passes if batch.encoder_training and (encoder or not record.modules)
             or batch.head_training and (head or norms or not record.modules)]
    if len(wrong) <= MOSTLY * len(passes):
        return None
    evidence = {"validation_passes_seen": len(passes), "in_training_mode": len(wrong),
                "dropout": max((module.value for module in encoder + head if module.value), default=None),
                "batchnorm_layers": len(norms) or None}
    why = ("BatchNorm normalizes by the validation batch and takes its statistics over into the model" if norms else
           "dropout hides part of every layer while the model is being judged: the figures are noisy and too low")
    return Finding("error", "validation runs in training mode",
                   {name: value for name, value in evidence.items() if value is not None}, why,
                   "call model.eval() before the validation loop and model.train() before the next epoch",
                   wrong[0].site)


def validation_passes(record):
    """Passes that judge the model: without gradients, or several in a row that no backward follows.

    Passes before the first step are left out: people try shapes there.
    """
    passes, row = [], []
    for batch in record.batches:
        if batch.role == "training":
            row = []
        elif batch.gradient_enabled is False:
            passes.append(batch)
        else:
            row.append(batch)
            passes += row if len(row) == FEWEST else [batch] if len(row) > FEWEST else []
    training = {place(batch.site) for batch in record.batches_of("training") if batch.site}
    return [batch for batch in passes if batch.step > 0 and not alone(batch, passes, training)
            and (batch.encoder_training is not None or batch.head_training is not None)]


def alone(batch, passes, training):
    """A single pass by the line that training passes come from may be one whose backward the observer cut off."""
    same_line = batch.site is None or place(batch.site) in training
    return same_line and sum(other.step == batch.step for other in passes) == 1


def dropouts(record, inside):
    return [module for module in record.modules
            if module.value and "dropout" in module.kind.lower() and course.in_encoder(module) == inside]
