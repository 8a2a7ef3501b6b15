"""the ids come from another vocabulary than the encoder's

What it is
    Each checkpoint knows one vocabulary. A tokenizer of another one (cased for uncased, another language, a vocabulary
    of one's own, a re-saved one with shifted ids) gives ids that mean other tokens to the encoder. So does one that
    takes texts apart otherwise than the one trained with: made anew for the predictions, without do_lower_case.

How it shows
    The run trains without a message and stays near chance, or far below what others get. If the tokenizer's vocabulary
    is the larger one: "IndexError: index out of range in self" in the embedding.

How it is found
    The ids of sampled texts are looked up in the tokenizer that lies with the encoder's checkpoint: the share that
    means the same token. Where the script numbers its words itself: the share that this vocabulary keeps free. Without
    such a tokenizer the sizes of the two vocabularies are compared, and the highest id seen with the size of the
    embedding. Where a second tokenizer of the same vocabulary is given texts that the first never was, the ids that the
    two make of them are compared.

Wrong
    from transformers import BertTokenizer
    words = sorted(tokenizer.get_vocab())
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})

Right
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(encoder.name_or_path)

Not to be confused with
    Embeddings that are a little larger than the vocabulary, rounded up to a multiple of 64 or 128; tokens added with
    resize_token_embeddings; two checkpoints of different names that share one vocabulary.
"""

import re

from diagnosis.faults import encoder_random
from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import crash_line

GROUP = "input"
EFFECT = "stops"
CAUSED_BY = ()
NO_TRIAL = "the texts would have to be tokenized anew, before the run"

AGREEMENT_ERROR, AGREEMENT_WARNING = 0.80, 0.95     # share of ids that mean the same token
SAME_TEXTS = 0.8            # share of a second tokenizer's texts of which the first makes the same ids
UNUSED = 0.1                # share of ids that the encoder's vocabulary keeps free; its own tokenizer gives none
ROUNDED_UP = 512            # rows that embeddings may have beyond the vocabulary without anything being wrong
OUT_OF_RANGE = re.compile("index out of range in self|srcIndex < srcSelectDimSize|device-side assert", re.IGNORECASE)


def check(record):
    encoder, tokenizer = record.encoder, record.tokenizer
    if encoder is None:
        return NotMeasured("no pre-trained encoder was seen")
    highest = max([batch.highest_id for batch in record.batches if batch.highest_id is not None]
                  + [max(row) for row in record.training.examples[:2000] if row], default=None)
    size = encoder.vocabulary_size
    if size is not None and highest is not None and highest >= size:
        return _beyond(record, highest, size)
    if tokenizer is None:
        if encoder.unused_share is None or encoder_random.is_new(encoder):
            return NotMeasured("no tokenizer was seen")
        return _by_unused(record) if encoder.unused_share > UNUSED and encoder.start_share < 0.5 else None
    other = tokenizer.other
    if other is not None and other.same_share < SAME_TEXTS:
        return _by_another(tokenizer, other)
    if encoder_random.is_new(encoder):
        return None             # weights that were never trained know no vocabulary yet
    if tokenizer.own_agreement is not None:
        return _by_meaning(record) if tokenizer.own_agreement < AGREEMENT_WARNING else None
    if tokenizer.vocabulary_size is None or size is None:
        return NotMeasured("the size of the tokenizer's or of the encoder's vocabulary is not known")
    surplus = size - tokenizer.vocabulary_size
    if abs(surplus) > ROUNDED_UP:
        return _by_size(record, surplus)
    if tokenizer.name not in (encoder.name, encoder.loaded_from):
        return NotMeasured("no tokenizer lies with the encoder's checkpoint; the vocabularies are of like size")
    return None


def _beyond(record, highest, size):
    evidence = {"highest_id": highest, "encoder_vocabulary": size}
    if record.tokenizer is not None:
        evidence |= {"tokenizer_vocabulary": record.tokenizer.vocabulary_size, "tokenizer": record.tokenizer.name}
    if record.crash is not None and OUT_OF_RANGE.search(record.crash.message):
        evidence["crash"] = crash_line(record.crash)
    return _finding(record, f"token id {highest} lies beyond the encoder's {size} embeddings", evidence)


def _by_meaning(record):
    tokenizer, encoder = record.tokenizer, record.encoder
    return _finding(
        record, f"only {percent(tokenizer.own_agreement)} of the token ids mean the same to the encoder",
        {"ids_with_the_same_meaning_share": rounded(tokenizer.own_agreement), "tokenizer": tokenizer.name,
         "encoder": encoder.loaded_from or encoder.name, "tokenizer_vocabulary": tokenizer.vocabulary_size,
         "encoder_vocabulary": encoder.vocabulary_size},
        "error" if tokenizer.own_agreement < AGREEMENT_ERROR else "warning")


def _by_another(tokenizer, other):
    return Finding(
        "error", f"a second tokenizer reads {percent(1 - other.same_share)} of its texts otherwise than the first one "
                 "would", {"texts_compared": other.texts, "texts_with_the_same_ids_share": rounded(other.same_share),
                           "unknown_share": rounded(other.unknown_share), "tokenizer": other.name,
                           "first_tokenizer": tokenizer.name},
        "A model knows texts as they were taken apart in its training; taken apart in another way they are strange to "
        "it, and what it says of them is worth less than its training promises.",
        "Read all texts with one tokenizer: save it beside the model (tokenizer.save_pretrained(folder)) and load it "
        "from there with AutoTokenizer.from_pretrained(folder), which keeps its settings, do_lower_case among them.",
        other.site, effect="misleads")


def _by_unused(record):
    encoder = record.encoder
    return _finding(
        record, f"the token ids are not the encoder's: {percent(encoder.unused_share)} of them stand for nothing in "
                "its vocabulary",
        {"ids_that_stand_for_nothing_share": rounded(encoder.unused_share),
         "texts_that_begin_with_its_start_token_share": rounded(encoder.start_share),
         "encoder": encoder.loaded_from or encoder.name, "encoder_vocabulary": encoder.vocabulary_size})


def _by_size(record, surplus):
    tokenizer, encoder = record.tokenizer, record.encoder
    return _finding(
        record, f"the tokenizer knows {tokenizer.vocabulary_size} tokens, the encoder {encoder.vocabulary_size}",
        {"tokenizer_vocabulary": tokenizer.vocabulary_size, "encoder_vocabulary": encoder.vocabulary_size,
         "difference": surplus, "tokenizer": tokenizer.name, "encoder": encoder.loaded_from or encoder.name})


def _finding(record, title, evidence, level="error"):
    source = record.encoder.loaded_from or record.encoder.name
    return Finding(
        level, title, evidence,
        "The encoder looks the ids up in its own vocabulary: it reads other words than the text has.",
        "Load tokenizer and model from one name" + (f": AutoTokenizer.from_pretrained({source!r})." if source else
                                                    ", or resize the embeddings after adding tokens."),
        record.tokenizer.site if record.tokenizer is not None and record.tokenizer.site else
        record.crash.site if "crash" in evidence else record.encoder.made)
