"""training steps run in eval() mode

What it is
    model.train() was never called (from_pretrained hands out a model in eval mode, and Lightning since 2.2 leaves it
    there), or model.eval() before a validation was not taken back.

How it shows
    Dropout is off, so the model overfits sooner; a BatchNorm uses the statistics it has and never learns its own, so
    that training and validation disagree or nothing is learned. Often only from the second epoch on.

How it is found
    The training flag of encoder and model in each training pass, in the first epoch and after the first validation. It
    matters only where there is dropout or BatchNorm, and an encoder that is frozen altogether may stay in eval mode.

Wrong
    model.train()
    for epoch in range(epochs):
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()

Right
    for epoch in range(epochs):
        model.train()
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()

Not to be confused with
    eval-train-mode, its opposite. A frozen encoder that is kept in eval mode while the head is trained.
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "model"
EFFECT = "slows"
CAUSED_BY = ()


def check(record):
    batches = [batch for batch in record.batches_of("training")
               if batch.head_training is not None or batch.encoder_training is not None]
    if not batches:
        return NotMeasured("no training pass was seen")
    encoder_trained = any(parameter.trainable for parameter in record.parameters if parameter.part.startswith("layer "))
    # The whole model's flag counts unless the encoder was put back to training mode and is what is trained.
    stopped = [batch for batch in batches if encoder_trained and batch.encoder_training is False
               or batch.head_training is False and not (encoder_trained and batch.encoder_training)]
    if not stopped:
        return None
    norms = [module for module in record.modules if "BatchNorm" in module.kind]
    dropouts = [module for module in record.modules if "dropout" in module.kind.lower() and module.value]
    share = len(stopped) / len(batches)
    level = "error" if norms else "warning" if dropouts or not record.modules else "note"
    late = batches[0] not in stopped
    return Finding(
        level, f"{percent(share)} of the training passes run in eval mode" + (", from a validation on" if late else ""),
        {"training_passes": len(batches), "of_these_in_eval_mode": len(stopped), "share": rounded(share),
         "first_after_optimizer_steps": stopped[0].step, "dropout_layers": len(dropouts),
         "batch_norm_layers": len(norms)},
        "BatchNorm does not learn the statistics that validation relies on, and dropout is off." if norms else
        "Dropout is off, so the model learns its training rows by heart sooner." if dropouts else
        "There is neither dropout nor BatchNorm here, so little changes.",
        help_for(record, stopped), stopped[0].site)


def help_for(record, stopped):
    """Lightning puts nothing into training mode by itself: what was handed over in eval mode stays in it."""
    if record.library == "lightning" and any(batch.head_training for batch in stopped):
        return ("Call .train() on the encoder where the LightningModule loads it: from_pretrained hands it out in eval mode, "
                "and Lightning (since 2.2) leaves every module in the mode in which it finds it.")
    return "Call model.train() at the beginning of every epoch, after the validation of the one before."


def mend(record):
    return mends.in_training_mode(record)
