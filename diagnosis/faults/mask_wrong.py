"""the mask hides real tokens or shows padding (inverted, all zeros, misaligned)

What it is
    The attention mask is 1 where text stands and 0 at padding. A mask made by hand may be inverted (True for padding,
    as torch's own attention wants it), all ones, all zeros, or belong to another batch.

How it shows
    All ones: as without a mask, the model learns less. Inverted or all zeros: it reads padding only, and hardly learns.

How it is found
    Token ids and mask are compared position by position where they reach the encoder: padding that the mask shows, and
    real tokens that it hides.

Wrong
    mask = (batch["input_ids"] == tokenizer.pad_token_id).long()
    logits = model(input_ids=batch["input_ids"], attention_mask=mask).logits

Right
    mask = (batch["input_ids"] != tokenizer.pad_token_id).long()
    logits = model(input_ids=batch["input_ids"], attention_mask=mask).logits

Not to be confused with
    A stray position per row where one token serves as end and as padding. Masks for torch's nn.Transformer, where
    True means hidden.
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import training_batches

GROUP = "input"
EFFECT = "slows"
CAUSED_BY = ()

HIDDEN_WARNING, HIDDEN_ERROR = 0.10, 0.30   # share of real tokens; [CLS] and [SEP] of a tweet are 7 %
SHOWN = 0.25                # share of the padding; a few in a hundred are stray
LITTLE, MUCH = 0.01, 0.20   # share of padding among all positions: where it does not matter, and where it does much


def check(record):
    training = training_batches(record)
    batches = [batch for batch in training if _is_known(batch)]
    if not batches:
        given = [batch.mask_given for batch in training if batch.mask_given is not None]
        return NotMeasured("no training batch was seen reaching an encoder" if not given else
                           "the mask has a form of its own" if any(given) else "no mask reaches the encoder")
    finding = _judged(record, batches)
    validation = [batch for batch in record.batches_of("validation") if _is_known(batch)]
    return finding or (_judged(record, validation, "in evaluation ") if validation else None)


def _is_known(batch):
    return batch.mask_given and None not in (batch.padding, batch.padding_shown, batch.real_hidden, batch.real_tokens)


def _judged(record, batches, where=""):
    """where: words before the title, for batches that are not trained on."""
    real, padding = sum(batch.real_tokens for batch in batches), sum(batch.padding for batch in batches)
    hidden, shown = sum(batch.real_hidden for batch in batches), sum(batch.padding_shown for batch in batches)
    if _ends_like_padding(record):
        stray = min(shown, sum(batch.rows for batch in batches))    # the end of each row, taken for padding
        shown, padding = shown - stray, padding - stray
    hidden_share, shown_share = hidden / max(1, real), shown / max(1, padding)
    padding_share = padding / max(1, padding + real)
    shows = shown_share >= SHOWN and padding_share >= LITTLE
    if not shows and hidden_share < HIDDEN_WARNING:
        return None
    return Finding(
        "error" if hidden_share >= HIDDEN_ERROR or (shows and padding_share >= MUCH) else "warning",
        f"{where}the attention mask hides {percent(hidden_share)} of the real tokens and shows {percent(shown_share)} of "
        "the padding", {
            "batches": len(batches), "real_tokens": real, "real_tokens_hidden": hidden, "padding_positions": padding,
            "padding_shown": shown, "hidden_share": rounded(hidden_share), "shown_share": rounded(shown_share),
            "padding_share": rounded(padding_share), "looks": _looks(hidden_share, shown_share)},
        "What the mask hides the encoder cannot read, and padding that it shows is read as text.",
        "Pass the tokenizer's own attention_mask on as it is, by name: BERT takes it as its second argument, before the "
        "token types; made by hand it is input_ids != tokenizer.pad_token_id.",
        next((batch.site for batch in batches if batch.site), None))


def _ends_like_padding(record):
    """One token serves as padding and as the end of a text (GPT-2 and its kin)."""
    tokenizer = record.tokenizer
    return tokenizer is not None and tokenizer.pad_id is not None and tokenizer.pad_id in (
        tokenizer.end_id, tokenizer.start_id, tokenizer.unknown_id)


def _looks(hidden, shown):
    if hidden > 0.9:
        return "inverted" if shown > 0.9 else "all zeros"
    if hidden < 0.01:
        return "all ones" if shown > 0.9 else "too wide"
    return "misaligned"


def mend(record):
    return mends.padding_masked(record)
