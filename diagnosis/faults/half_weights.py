"""the weights themselves are fp16 or bf16, and their updates round away

What it is
    The model was turned to half precision as a whole (.half(), dtype=, or a checkpoint saved so, which transformers 5
    loads as it is). A weight of 0.04 in bf16 has neighbours 1e-4 apart: an update of 2e-5 rounds back to where it was.

How it shows
    A flat curve, or "Attempting to unscale FP16 gradients"; fp16 with Adam soon gives NaN, as its eps rounds to 0.

How it is found
    The dtype of the trained weights, and the share of those with a gradient that a step leaves bitwise as they were:
    12 % in fp16 and 84 % in bf16 at 2e-5. An error from a half of them on, or where the script stops by it.

Wrong
    model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

Right
    model.float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    for batch in loader:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

Not to be confused with
    autocast, which computes in half precision and keeps the weights in fp32; a frozen encoder in half precision under
    an fp32 head.
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import median, rounded
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "precision"
EFFECT = "stops"
CAUSED_BY = ()

HALF = ("float16", "bfloat16")
CRASH = "Attempting to unscale FP16 gradients"
MUCH = 0.5          # of the trained weights: fewer, an odd half tensor, are a warning
ROUNDS_AWAY = 0.5   # of the updates


def check(record):
    crashed = record.crash is not None and CRASH in record.crash.message
    trained = [parameter for parameter in record.parameters if parameter.trainable]
    half = [parameter for parameter in trained if parameter.dtype in HALF]
    if not trained and not crashed:
        return NotMeasured("the model's parameters were not seen")
    if not half and not crashed:
        return None
    total = sum(parameter.elements for parameter in trained) or 1
    share = sum(parameter.elements for parameter in half) / total
    unchanged = median(step.unchanged_share for step in course.taken(record) if any(step.rates))
    broken = any(course.loss_is_lost(record, step) for step in record.steps)
    stops = crashed or share >= MUCH and (broken or unchanged is not None and unchanged >= ROUNDS_AWAY)
    kinds = sorted({parameter.dtype for parameter in half}) or ["float16"]
    evidence = {"dtype_of_trained_weights": kinds, "share_of_trained_weights": rounded(share),
                "unchanged_by_a_step": rounded(unchanged),
                "rate": max(course.highest_rates(record), default=None),
                "message": record.crash.message.strip().splitlines()[0] if crashed else None}
    title = f"the trained weights are {' and '.join(kinds)}"
    if crashed:
        title += ", and the gradient scaler refuses them"
    elif unchanged is not None and unchanged >= 0.05:
        title += f": a step leaves {100 * unchanged:.0f} % of them as they were"
    return Finding("error" if stops else "warning", title,
                   {name: value for name, value in evidence.items() if value is not None},
                   "updates smaller than the gap between neighbouring half-precision numbers round back to nothing",
                   "keep the weights in fp32 (from_pretrained(..., dtype=torch.float32), no .half()) and compute in "
                   "half precision by autocast", (record.encoder.made if record.encoder else None)
                   or (record.crash.site if crashed else None) or (record.groups[0].made if record.groups else None))


def mend(record):
    return mends.in_float32(record)
