"""different examples reach the model as the same, or as empty, input

What it is
    The texts are lost on their way: a variable of an earlier loop is tokenized for every row, an empty or constant
    column is read, ids are replaced by zeros, a collate function repeats the first row.

How it shows
    The loss settles at that of guessing, and the logits are the same for every row of a batch (but for dropout).

How it is found
    The different inputs in each batch are counted, and in the data set; rows that hold nothing but padding and special
    tokens are counted as empty. Copies of a text that always bear the same label are not held against the data.

Wrong
    for text, label in rows:
        pass
    batch = tokenizer([text for _ in rows], padding=True, return_tensors="pt")

Right
    batch = tokenizer([text for text, _ in rows], padding=True, return_tensors="pt")

Not to be confused with
    text-truncated and text-unknown, which make different texts equal and are then named instead of this or before it.
    A few empty rows, as real files have them; a small set of texts that is repeated with its labels.
"""

from collections import Counter

from diagnosis.faults import text_truncated
from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import contents, groups_of, training_batches

GROUP = "data"
EFFECT = "stops"
CAUSED_BY = ("text-unknown", "rows-repeated")
NO_TRIAL = "no change of the run brings back the texts that did not reach the model"

EMPTY_WARNING, EMPTY_ERROR = 0.05, 0.50     # share of rows without content; real files have about 1 %
LARGE_GROUP = 0.10          # share of all rows that one input must make up to count as collapsed
ONE_LABEL = 0.90            # copies of one text whose labels agree so far are copies, not a loss of text
COLLAPSED_WARNING, COLLAPSED_ERROR = 0.20, 0.50     # share of the rows in such groups
ENOUGH = 16                 # rows


def check(record):
    if text_truncated.leaves_scraps(record):
        return NotMeasured("truncation leaves a few tokens of each text (text-truncated), which makes texts equal")
    in_batches = _same_in_batches(record)
    if in_batches is not None:
        return in_batches
    split = record.training
    if len(split.examples) < ENOUGH:
        seen = [batch for batch in training_batches(record) if batch.distinct_rows and batch.rows]
        if sum(batch.rows for batch in seen) < ENOUGH:
            return NotMeasured(f"only {len(split.examples)} training rows are known")
        return None
    rows = contents(split.examples)
    empty = sum(not row for row in rows)
    if empty / len(rows) >= EMPTY_WARNING:
        level = "error" if empty / len(rows) >= EMPTY_ERROR else "warning"
        return _finding(level, f"{percent(empty / len(rows))} of the training rows hold no text",
                        {"rows": len(rows), "empty_rows": empty, "empty_share": rounded(empty / len(rows))}, split.made)
    groups = groups_of(rows)
    labels = split.labels if len(split.labels) == len(rows) else None
    collapsed = sum(len(places) for places in groups.values()
                    if len(places) >= max(5, LARGE_GROUP * len(rows)) and not _agree(places, labels))
    share = collapsed / len(rows)
    if share < COLLAPSED_WARNING or (labels is None and len(groups) > 1):
        return None
    return _finding("error" if share >= COLLAPSED_ERROR else "warning",
                    f"{percent(share)} of the training rows reach the model as one of a few equal inputs",
                    {"rows": len(rows), "different_inputs": len(groups), "rows_of_equal_input": collapsed,
                     "share_of_equal_input": rounded(share),
                     "largest_group": max(map(len, groups.values()))}, split.made)


def _same_in_batches(record):
    """Every batch shows the model one single input, though its labels differ."""
    batches = [batch for batch in training_batches(record)
               if batch.distinct_rows and batch.rows >= 4 and (batch.labels is None or len(set(batch.labels)) > 1)]
    rows = sum(batch.rows for batch in batches)
    if len(batches) < 2 or rows < ENOUGH or any(batch.distinct_rows > 1 for batch in batches):
        return None
    empty = all(batch.real_tokens is not None and batch.real_tokens <= 2 * batch.rows for batch in batches)
    return _finding("error", f"all rows of a batch reach the model as the same {'empty ' if empty else ''}input",
                    {"batches": len(batches), "rows": rows, "different_inputs_per_batch": 1,
                     "real_tokens_per_row": rounded(sum(batch.real_tokens or 0 for batch in batches) / rows)},
                    batches[0].site)


def _agree(places, labels):
    """These copies of one text bear the same label, nearly all of them: they were copies from the beginning."""
    return labels is not None and max(Counter(labels[place] for place in places).values()) >= ONE_LABEL * len(places)


def _finding(level, title, evidence, where):
    return Finding(
        level, title, evidence, "Rows that look alike to the model get the same answer, whatever their labels are.",
        "Print a few texts beside the token ids that reach the model and go back to where they become the same.", where)
