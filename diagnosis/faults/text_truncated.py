"""truncation cuts away much of the text

What it is
    The maximum length is far below the texts' length, or was meant in words, sentences or characters.

How it shows
    The model learns something and stops early; with a handful of tokens left it hardly beats guessing.

How it is found
    Texts that the script tokenizes are tokenized again without truncation: the tokens lost, of all. If the script cuts
    the ids itself, the lengths that reach the encoder are held against the full ones.

Wrong
    batch = tokenizer(texts, truncation=True, max_length=4, padding=True, return_tensors="pt")

Right
    batch = tokenizer(texts, truncation=True, max_length=128, padding=True, return_tensors="pt")

Not to be confused with
    Long documents cut to 128 tokens or more: usual practice, and most tasks are decided by then. Nothing can be kept
    beyond the positions that an encoder has (512 for BERT).
"""

from statistics import fmean, median

from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "data"
EFFECT = "slows"
CAUSED_BY = ()
SET_BY = "max_length"
NO_TRIAL = "the texts would have to be tokenized anew, before the run"

LOST_WARNING = 0.30         # of all tokens; at the 95th percentile of the lengths, as is usual, it is 2 to 5 %
LOST_ERROR = 0.40           # with hardly anything left, or with labels that cannot be predicted from what is left:
SCRAPS = 12                 # tokens kept of a cut text, [CLS] and [SEP] among them
USUAL = 128                 # tokens; to keep as many and lose the rest is common practice
ENOUGH = 20                 # texts
DIFFERENT = 0.05            # share of rows that cut texts, even to a word or two, still have different from each other


def check(record):
    tokenizer = record.tokenizer
    if tokenizer is None or len(tokenizer.full_lengths) < ENOUGH:
        return NotMeasured("too few texts were seen being tokenized to know their full lengths")
    full, kept = tokenizer.full_lengths, _kept(record)
    lost = 1 - fmean(kept) / fmean(full)
    longest = max(kept)
    cut_share = fmean(length > longest for length in full)
    if lost < LOST_WARNING:
        return None
    if longest >= USUAL:
        level = "note"
    else:
        level = "error" if lost >= LOST_ERROR and (longest <= SCRAPS or _hides_the_class(record)) else "warning"
    return Finding(
        level, f"truncation to {longest} tokens cuts away {percent(lost)} of the text",
        {"texts": len(full), "median_full_length": median(full), "median_kept_length": median(kept),
         "longest_kept": longest, "max_length": tokenizer.max_length, "lost_share_of_tokens": rounded(lost),
         "cut_share_of_texts": rounded(cut_share)},
        "What is cut away cannot be learned from" + ("." if level != "error" else
                                                     ", and what is left is hardly a text." if longest <= SCRAPS else
                                                     ", and from what is left the labels cannot be predicted."),
        f"Raise the maximum length to about {_suggested(full, record.encoder)} tokens, which keeps 95 % of the texts "
        "whole as far as the encoder allows; pad each batch to its own longest text to keep this cheap.",
        tokenizer.site)


def _hides_the_class(record):
    """A linear model over the tokens that are left does no better than with permuted labels."""
    control = record.control("labels-from-tokens")
    return control is not None and control.outcome is False


def leaves_scraps(record):
    """Truncation leaves so little that other findings about the texts and labels only follow from it."""
    finding = check(record)
    return isinstance(finding, Finding) and finding.level == "error"


def _kept(record):
    """Lengths after truncation: as the tokenizer cut them, or as they reach the encoder if the script cut the ids."""
    kept = record.tokenizer.kept_lengths or record.tokenizer.full_lengths
    rows = [tuple(row) for row in record.training.examples if row]
    reached = [len(row) for row in rows]
    sliced = len(rows) >= ENOUGH and max(reached) < 0.75 * max(kept) and fmean(reached) < 0.75 * fmean(kept)
    cut = sliced and _pile_up(reached) and len(set(rows)) >= DIFFERENT * len(rows)     # else text-constant
    return reached if cut else kept


def _pile_up(lengths):
    """Many rows end at exactly the longest length, as cut rows do."""
    return lengths.count(max(lengths)) >= 0.2 * len(lengths)


def _suggested(full, encoder):
    longest = sorted(full)[int(0.95 * (len(full) - 1))]
    allowed = encoder.max_positions if encoder is not None and encoder.max_positions else 512
    return min(allowed, 8 * -(-longest // 8))
