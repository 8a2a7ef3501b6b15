"""a row's output depends on the other rows of its batch (a view where a transpose was meant)

What it is
    Somewhere between the encoder and the loss the rows of a batch run into one another: view or reshape where
    transpose or permute was meant, softmax or a mean over dimension 0, a recurrent or attention layer without
    batch_first=True, which takes the rows of the batch for the steps of a sequence.

How it shows
    The loss falls slowly and stops far from zero; the score changes with the batch size and the order of the rows.

How it is found
    A control: rows of one training batch through a copy of the model in evaluation mode, once in their own batch, once
    each half beside its own copy. The logits of a row must stay what they are. BatchNorm uses its running statistics
    then and does no harm; where the model is random in evaluation mode, nothing is said.

Wrong
    hidden = encoder(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    rows, width, size = hidden.shape
    logits = head(hidden.view(width, rows, size)[0])

Right
    hidden = encoder(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    rows, width, size = hidden.shape
    logits = head(hidden.transpose(0, 1)[0])

Not to be confused with
    BatchNorm, whose batch matters in training by design (batchnorm-small-batch); mixup, which mixes rows and labels
    alike in training only; losses over pairs of rows.
"""

from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "model"
EFFECT = "stops"
CAUSED_BY = ()
NO_TRIAL = "which dimension holds the rows is for the script to say"

CONTROL = "rows-apart"


def check(record):
    control = record.control(CONTROL)
    if control is None or control.outcome is None:
        return NotMeasured(control.reason if control is not None and control.reason
                           else "no training batch was run again in other company")
    if control.outcome:
        return None
    calls = sorted({"view", "reshape", "permute", "transpose", "softmax", "LSTM", "GRU", "RNN", "MultiheadAttention",
                    "TransformerEncoderLayer"}.intersection(record.called))
    site = next((batch.site for batch in record.batches_of("training") if batch.site), None)
    return Finding("error", "a row's output depends on the other rows of its batch",
                   {"largest_change_of_a_logit": control.figures.get("largest_change"),
                    "rows_run_again": control.figures.get("rows"), "script_calls": calls},
                   "What is learned for one text is read off its neighbours in the batch, which are others each time; "
                   "in evaluation the score depends on how the rows are grouped.",
                   "look between the encoder and the loss for a view or reshape that should be a transpose, an "
                   "operation over dimension 0, or a layer without batch_first=True", site)
