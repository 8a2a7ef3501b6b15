"""the tokenizer turns much of the text into its unknown token

What it is
    The vocabulary does not hold the words or the script of these texts: Chinese or Cyrillic text with an English
    vocabulary, capital letters with an uncased vocabulary and do_lower_case=False, a small vocabulary of one's own.

How it shows
    Rows full of [UNK]. The model sees how long a text is and little else.

How it is found
    The ids of the unknown token are counted in the batches, special tokens and padding apart.

Wrong
    batch = tokenizer([text.upper() for text in texts], padding=True, return_tensors="pt")  # it knows lower case only

Right
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    assert 2 * (batch["input_ids"] == tokenizer.unk_token_id).sum() < batch["attention_mask"].sum()

Not to be confused with
    tokenizer-mismatch, where tokens are known to the tokenizer but mean something else to the encoder. A few unknown
    emojis and signs: one or two in a hundred tokens are usual.
"""

from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import contents, training_batches

GROUP = "data"
EFFECT = "stops"
CAUSED_BY = ("tokenizer-mismatch",)
SET_BY = "model_name"
NO_TRIAL = "the texts would have to be tokenized anew, before the run"

WARNING, ERROR = 0.10, 0.30     # of the tokens of the texts; tweets with emojis and an English vocabulary have 1 to 3 %
ENOUGH = 200                    # tokens


def check(record):
    tokenizer = record.tokenizer
    if tokenizer is not None and unknown_id(record) is None:
        return None
    unknown, tokens = _count(record)
    if tokens < ENOUGH:
        return NotMeasured("no tokenizer was seen, so its unknown token is not known" if tokenizer is None else
                           f"only {tokens} tokens of training texts were seen")
    share = unknown / tokens
    if share < WARNING:
        return None
    return Finding(
        "error" if share >= ERROR else "warning", f"{percent(share)} of the tokens are the unknown token", {
            "tokens": tokens, "unknown_tokens": unknown, "unknown_share": rounded(share),
            "unknown_id": tokenizer.unknown_id if tokenizer else None,
            "tokenizer": tokenizer.name if tokenizer else ""},
        "All unknown words are one and the same to the model, so what they say about the class is lost.",
        f"Take a tokenizer and a checkpoint made for this language and spelling, {_named(record)}bert-base-chinese for "
        "Chinese, from the hub, a mirror in HF_ENDPOINT or a folder; and leave do_lower_case as the checkpoint has it.",
        tokenizer.site if tokenizer else None)


def _named(record):
    """The script's own name for its checkpoint, as in MODEL_NAME=."""
    setting = record.setting("model_name")
    return f"{setting.name}=" if setting is not None and setting.name else ""


def unknown_id(record):
    """The token that stands for text which the vocabulary does not hold; None where none does or none was seen."""
    tokenizer = record.tokenizer
    if tokenizer is None or tokenizer.unknown_id in (tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id):
        return None     # GPT-2 and its kin: one token for end and unknown, which never stands for text
    return tokenizer.unknown_id     # None: byte-level and character vocabularies know everything


def _count(record):
    """(unknown tokens, tokens of texts) in the training batches, else in the training examples."""
    batches = [batch for batch in training_batches(record)
               if batch.unknown is not None and batch.real_tokens is not None]
    if batches:
        special = 2 if record.tokenizer is None or record.tokenizer.start_id is not None else 0
        return (sum(batch.unknown for batch in batches),
                sum(max(0, batch.real_tokens - special * batch.rows) for batch in batches))
    if record.tokenizer is None:
        return 0, 0
    rows = contents(record.training.examples)
    return sum(row.count(record.tokenizer.unknown_id) for row in rows), sum(map(len, rows))
