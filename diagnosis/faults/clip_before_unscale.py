"""gradients are clipped while still multiplied by the loss scale

What it is
    clip_grad_norm_ is called after scaler.scale(loss).backward() without scaler.unscale_(optimizer) in between: it
    measures norms tens of thousands of times too large and shortens every gradient to limit / scale.

How it shows
    A flat curve in fp16 only; the norm that clipping returns is in the tens of thousands.

How it is found
    At the clipping call a scaler's factor above 1 is still on the gradients.

Wrong
    scaler = torch.amp.GradScaler("cpu")
    for batch in loader:
        scaler.scale(loss_of(model, batch)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

Right
    scaler = torch.amp.GradScaler("cpu")
    for batch in loader:
        scaler.scale(loss_of(model, batch)).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

Not to be confused with
    A tight limit on gradients of their true size (clip-too-tight).
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import median, rounded
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "precision"
EFFECT = "stops"
CAUSED_BY = ()

MOSTLY = 0.5
SCALED_LIMIT = 0.1      # limit / scale: a limit this large was multiplied by the scale on purpose


def check(record):
    if not record.steps:
        return NotMeasured("no training step was seen")
    clipped = [step for step in record.steps if step.clip is not None]
    scaled = [step for step in clipped if step.clip.scaled and not on_purpose(step)]
    if not scaled or len(scaled) < MOSTLY * len(clipped):
        return None
    scales = [step.scale for step in scaled if step.scale]
    limit = scaled[0].clip.limit
    evidence = {"steps_clipped_while_scaled": len(scaled), "steps_seen": len(record.steps), "clip_limit": limit,
                "norm_measured": rounded(median(step.clip.norm_before for step in scaled))}
    if scales:
        evidence |= {"scale": scales[-1], "true_limit": rounded(limit / median(scales))}
    unscaled = {name: value for name, value in evidence.items() if value is not None}
    return Finding("error", "gradients are clipped while they are still multiplied by the loss scale", unscaled,
                   "the limit acts on scaled gradients, so that after unscaling next to nothing is left of them",
                   "call scaler.unscale_(optimizer) before the clipping", scaled[0].clip.site)


def on_purpose(step):
    return step.scale is not None and step.scale > 1 and step.clip.limit / step.scale >= SCALED_LIMIT


def mend(record):
    return mends.Mend("the limit of clipping multiplied by the loss scale", {"clip_unscaled": None})
