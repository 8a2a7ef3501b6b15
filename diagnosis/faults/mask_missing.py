"""padding is attended to: no attention mask reaches the encoder although batches are padded

What it is
    Texts of one batch are filled up to one length. Without an attention mask the encoder reads the filling as text.

How it shows
    The model learns, but less, and the more padding the worse; one text gets different answers in different batches.

How it is found
    What reaches the encoder in each training batch: whether there is a mask, and how many positions are padding.

Wrong
    logits = model(input_ids=batch["input_ids"]).logits

Right
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits

Not to be confused with
    Batches without any padding (batch size 1, texts of one length), which need no mask.
    mask-wrong, where a mask arrives and says the wrong thing.
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import training_batches

GROUP = "input"
EFFECT = "slows"
CAUSED_BY = ()

LITTLE = 0.01       # share of positions that are padding: harmless
MUCH = 0.20         # the usual random batch padded to its longest text has 40 to 70 %


def check(record):
    batches = [batch for batch in training_batches(record)
               if batch.mask_given is not None and batch.padding is not None and batch.real_tokens is not None]
    if not batches:
        return NotMeasured("no training batch was seen reaching an encoder")
    without = [batch for batch in batches if not batch.mask_given and batch.padding]
    padded = [batch for batch in batches if batch.padding]
    if not padded or len(without) < len(padded) / 2:
        return None
    padding = sum(batch.padding for batch in without)
    share = padding / (padding + sum(batch.real_tokens for batch in without))
    if share < LITTLE:
        return None
    return Finding(
        "error" if share >= MUCH else "warning",
        f"no attention mask reaches the encoder, and {percent(share)} of the positions are padding", {
            "padded_batches": len(padded), "of_these_without_mask": len(without), "padding_positions": padding,
            "padding_share": rounded(share)},
        "The encoder mixes padding into every token's representation, more of it the shorter the text is.",
        "Pass the tokenizer's attention_mask to the model together with input_ids.",
        next((batch.site for batch in without if batch.site), None))


def mend(record):
    return mends.padding_masked(record)
