"""the gradient scaler skips most steps

What it is
    In fp16 the gradients are multiplied by a loss scale so that small ones do not vanish. Where they overflow the
    step is skipped and the scale halved. Here that never ends: the gradients overflow at any scale, or the scale is
    forced up again.

How it shows
    A flat curve in fp16 only, steps that take no time, a scale that falls towards 0.

How it is found
    The skipped share of the steps after the first three, and of their later half; the scale at the first and the
    last. Losses that are themselves NaN are non-finite's matter.

Wrong
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** 24)
    for batch in loader:
        with torch.autocast("cpu", dtype=torch.float16):
            loss = loss_of(model, batch)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update(2.0 ** 24)        # never lowered: it overflows for ever
        optimizer.zero_grad()

Right
    scaler = torch.amp.GradScaler("cpu")
    for batch in loader:
        with torch.autocast("cpu", dtype=torch.float16):
            loss = loss_of(model, batch)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

Not to be confused with
    A scaler that skips its first two or three steps while it finds its scale, which is healthy.
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import share
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "precision"
EFFECT = "stops"
CAUSED_BY = ("non-finite", "lr-too-high", "half-weights")

FINDING_ITS_SCALE = 3   # steps that a healthy scaler may skip at the start
MOSTLY = 0.5
FEWEST = 5              # steps after those, to judge by


def check(record):
    steps = [step for step in record.steps if step.scale is not None]
    if not record.steps and not record.backwards:
        return NotMeasured("no training step was seen")
    if not steps:
        return None if not record.scaler_used else NotMeasured("the scaler was used, but none of its steps was seen")
    after = steps[FINDING_ITS_SCALE:]
    if len(after) < FEWEST:
        few = NotMeasured("too few steps with a gradient scaler were seen")
        return few if any(step.skipped for step in steps) else None
    if share(course.loss_is_lost(record, step) for step in steps) > MOSTLY:
        return None
    skipped, lately = (share(step.skipped for step in part) for part in (after, after[len(after) // 2:]))
    if skipped <= MOSTLY or lately <= MOSTLY:
        return None
    return Finding(
        "error", f"the gradient scaler skips {100 * skipped:.0f} % of the steps",
        {"steps_skipped": sum(step.skipped for step in steps), "steps_seen": len(steps),
         "scale_first": steps[0].scale, "scale_last": steps[-1].scale, "autocast": record.autocast or "none"},
        "a skipped step changes no weight: the gradients overflow fp16 at every scale that is tried",
        "use bf16 autocast without a scaler where the device has it, or fp32; leave the scaler's settings as they come "
        "and call update() without arguments once per step", steps[0].site or record.step_site)


def mend(record):
    return mends.in_float32(record)
