"""the token whose state the head reads is padding

What it is
    The head takes the state of one position (the first, the last), and for shorter rows that position is padding:
    [:, 0] with a tokenizer that pads on the left, [:, -1] or a recurrent layer's last step with one that pads on the
    right.

How it shows
    The longest row of each batch is read rightly and all others are not; results change with the batch size. A
    language model's classification head does it by itself where its pad_token_id is not set.

How it is found
    The gradient of the logits with respect to the encoder's output: the position that a padded row's logits depend on
    most (three tenths of it and more), held against the row's padding as token ids and mask show it.

Wrong
    outputs = encoder(batch["input_ids"], attention_mask=batch["attention_mask"])
    logits = head(outputs.last_hidden_state[:, -1])

Right
    outputs = encoder(batch["input_ids"], attention_mask=batch["attention_mask"])
    last = batch["attention_mask"].sum(1) - 1
    logits = head(outputs.last_hidden_state[torch.arange(len(last)), last])

Not to be confused with
    mask-missing, where padding is attended to; a mean over all positions, which reads padding among the rest;
    [:, -1] of rows padded on the left, which is their last token.
"""

from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import is_learning

GROUP = "input"
EFFECT = "stops"
CAUSED_BY = ("text-constant",)
NO_TRIAL = "which position the head reads is a line of the script"

MOSTLY, SOME = 0.5, 0.2     # of the padded rows: an error where nothing is learned, a warning
ENOUGH = 4                  # padded rows


def check(record):
    batches = [batch for batch in record.batches_of("training") if batch.padded_rows is not None]
    if not batches:
        padded = [batch for batch in record.batches_of("training") if batch.padding]
        seen = any(batch.padding is not None for batch in record.batches_of("training"))
        return None if seen and not padded else NotMeasured(
            "what position of the encoder's output is read was not seen in a padded batch")
    rows, read = sum(batch.padded_rows for batch in batches), sum(batch.read_at_padding for batch in batches)
    if rows < ENOUGH:
        return None             # no single position is read
    share = read / rows
    if share < SOME:
        return None
    level = "error" if share >= MOSTLY and not is_learning(record) else "warning"
    return Finding(level, f"the head reads padding in {percent(share)} of the padded rows",
                   {"padded_rows": rows, "read_at_padding": read, "share": rounded(share), "batches": len(batches)},
                   "The state of a padding position stands for no token; how much of the text it holds is chance.",
                   "read the last real token, hidden[arange(rows), attention_mask.sum(1) - 1], or the first with "
                   "padding_side='right'; pack sequences before a recurrent layer", batches[0].site)
