"""At the stop: the data sets as they reach the encoder, the tokenizer, and the encoder's features before training."""

import copy
import math
import os
import random
import time

import torch

from diagnosis.observe.loaders import SeenLoader
from diagnosis.record import examples, facts
from diagnosis.record.record import OtherTokenizer, Split, Tokenizer

FEATURE_ROWS = 640      # rows of which frozen-encoder features are computed: the control needs 500
FEATURE_POOL = 160      # of these are sorted by length together, so that little padding is computed
FEATURE_TOKENS = 128    # of a text
FEATURE_SECONDS = 10
TEXTS = 400             # texts whose lengths are measured
SHOWN = 5               # of these texts are written down
UNLIMITED = 1e6         # a tokenizer's model_max_length from here on means that there is none
LABELS = 4_000          # labels kept in the order in which they came
TOKENIZER_FILES = {"tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
                   "tokenizer.model"}


def fill_splits(observer):
    """The training and the validation data, and how many classes there are."""
    record, attempt = observer.record, observer.guard.attempt
    training, passes = observer.loaders.training(), observer.passes
    ways = (None, None)
    if training is not None:
        ways = attempt(examples.learn, training.passes, observer.tokenizers.calls) or ways
        record.training = split_of(observer, training, ways) or Split()
        record.training.iterated = training.iterated
    add_passes(record.training, passes.samples_of("training"), record.several_texts)
    validating = observer.loaders.validation() or loader_of_trainer(observer)
    if validating is not None:
        own = attempt(examples.learn, validating.passes, observer.tokenizers.calls) if validating.passes else None
        own = tuple(mine or other for mine, other in zip(own or (None, None), ways))
        record.validation = split_of(observer, validating, own)
    samples = passes.samples_of("validation")
    if record.validation is None and samples:
        record.validation = Split()
    if record.validation is not None:
        add_passes(record.validation, samples, record.several_texts)
    labels = record.training.labels or record.training.order_labels
    ignored = {-100} if any(batch.ignored for batch in record.batches) else set()
    record.classes = len(set(labels) - ignored) or None


def split_of(observer, seen_loader, ways):
    """The Split of a loader; without rows where reading them fails, None where even the loader says nothing."""
    attempt, loader, made = observer.guard.attempt, seen_loader.loader, seen_loader.made
    pad_of, tokenizers = observer.passes.pad_id, observer.tokenizers
    tokenizers.listening = not tokenizers.calls         # they were called in the loader's workers, if at all
    split = attempt(examples.describe_split, loader, made, ways, pad_of)
    tokenizers.listening = False
    return split or attempt(examples.describe_split, loader, made, None, pad_of)


def loader_of_trainer(observer):
    """The validation loader that the Trainer would make, where it has validation data; else None."""
    trainer = observer.surroundings.trainer
    if getattr(trainer, "eval_dataset", None) is None:
        return None
    loader = observer.guard.attempt(trainer.get_eval_dataloader)
    return SeenLoader(loader) if loader is not None else None


def add_passes(split, samples, several_texts):
    """What the passes seen tell of a Split: the labels' order and, where no data set could be read, each row once.

    several_texts   the encoder reads several texts of a row: one of them alone is no example
    """
    split.order_labels = [label for sample in samples for label in sample.labels][:LABELS]
    if several_texts:
        split.examples = []
    if several_texts or split.examples:
        return
    found = {}
    for sample in samples:
        labels = sample.labels if len(sample.labels) == len(sample.ids) else [None] * len(sample.ids)
        found |= dict.fromkeys((tuple(row), label) for row, label in zip(sample.ids, labels))
    found = list(found)[:examples.ROWS]
    split.examples = [list(row) for row, _ in found]
    if all(label is not None for _, label in found):
        split.labels = [label for _, label in found]


def features(observer):
    """Mean-pooled outputs of the encoder as it stood before training, for the first rows of the training examples.

    A row of floats each; [] where they cannot be had.
    """
    before, split = observer.before_training, observer.record.training
    if before is None or before.encoder is None or before.state is None or not split.examples:
        return []
    if not isinstance(before.encoder, facts.transformers_model() or ()):
        return []       # nobody knows how an encoder of the script's own is called
    frozen = copy.deepcopy(before.encoder).eval()
    names = facts.names_in(before.model, before.encoder).values()
    state = {inside: before.state.get(name) for name, inside in names if inside}
    longest = getattr(getattr(before.encoder, "config", None), "max_position_embeddings", 512) or 512
    rows = [row[:min(longest - 2, FEATURE_TOKENS)] or [0] for row in split.examples[:FEATURE_ROWS]]
    found, ends = [], time.monotonic() + FEATURE_SECONDS
    with torch.no_grad():
        for name, parameter in frozen.named_parameters():
            if state.get(name) is not None:
                parameter.copy_(state[name])
        for first in range(0, len(rows), FEATURE_POOL):
            pooled = pooled_outputs(frozen, rows[first:first + FEATURE_POOL], ends)
            if pooled is None:
                break
            found += pooled
    return found if all(math.isfinite(value) for row in found for value in row) else []


def pooled_outputs(encoder, rows, ends, batch_size=32):
    """Mean over the tokens of each row's outputs, in the rows' order; None where the time is up before the last."""
    device, pooled = next(encoder.parameters()).device, [None] * len(rows)
    by_length = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    for first in range(0, len(rows), batch_size):
        if time.monotonic() > ends:
            return None
        places = by_length[first:first + batch_size]
        width = len(rows[places[-1]])
        ids = torch.tensor([rows[row] + [0] * (width - len(rows[row])) for row in places], device=device)
        mask = torch.tensor([[1] * len(rows[row]) + [0] * (width - len(rows[row])) for row in places], device=device)
        hidden = encoder(input_ids=ids, attention_mask=mask)[0].float()
        means = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        for row, values in zip(places, means.tolist()):
            pooled[row] = [round(value, 4) for value in values]
    return pooled


def fill_tokenizer(observer):
    record, calls = observer.record, observer.tokenizers.calls
    if not calls:
        if record.encoder is not None:
            read_as_encoders_own(record.encoder, [row for row in record.training.examples[:TEXTS] if row])
        return
    first = observer.tokenizers.first_call()
    tokenizer, settings = first.tokenizer, first.settings
    texts = [text for call in calls if call.tokenizer is tokenizer and call.bare == first.bare for text in call.texts]
    if len(texts) > TEXTS:
        texts = random.Random(0).sample(texts, TEXTS)
    described = describe_tokenizer(first)
    plain = {name: settings[name] for name in ("add_special_tokens",) if name in settings}
    cut = {name: settings[name] for name in ("truncation", "max_length", "add_special_tokens") if name in settings}
    full = tokenizer(texts, **plain, verbose=False)["input_ids"]
    kept = tokenizer(texts, **cut, verbose=False)["input_ids"]
    described.full_lengths, described.kept_lengths = [len(row) for row in full], [len(row) for row in kept]
    split = record.training
    label_of = {tuple(row): label for row, label in zip(split.examples, split.labels)} if split.labels else {}
    for text, row in list(zip(texts, kept))[:SHOWN]:
        described.shown.append({"text": text[:500], "tokens": tokenizer.convert_ids_to_tokens(row)[:64],
                                "ids": row[:64], "label": label_of.get(tuple(row))})
    described.different_texts = observer.tokenizers.different_texts()
    described.other = min((compared(tokenizer, call) for call in observer.tokenizers.others()),
                          key=lambda other: other.same_share, default=None)
    record.tokenizer = described
    described.own_agreement = agreement(record.encoder, tokenizer, kept)


def describe_tokenizer(call):
    tokenizer, settings = call.tokenizer, call.settings

    def read(*names):
        return next((getattr(tokenizer, name) for name in names if getattr(tokenizer, name, None) is not None), None)

    described = Tokenizer(name=str(read("name_or_path") or ""), kind=type(tokenizer).__name__,
                          vocabulary_size=len(tokenizer), unknown_id=read("unk_token_id"), pad_id=read("pad_token_id"),
                          start_id=read("cls_token_id", "bos_token_id"), end_id=read("sep_token_id", "eos_token_id"),
                          truncation=settings.get("truncation") not in (None, False, "do_not_truncate"),
                          max_length=settings.get("max_length"), site=call.site)
    if described.truncation and described.max_length is None and (read("model_max_length") or UNLIMITED) < UNLIMITED:
        described.max_length = int(tokenizer.model_max_length)
    return described


def compared(tokenizer, call):
    """The OtherTokenizer of another tokenizer's call: do the two make the same ids of its texts?"""
    texts, other = call.texts[:TEXTS], call.tokenizer
    theirs, mine = other(texts, verbose=False)["input_ids"], tokenizer(texts, verbose=False)["input_ids"]
    return OtherTokenizer(str(other.name_or_path or ""), facts.share(a == b for a, b in zip(theirs, mine)),
                          facts.share(token == other.unk_token_id for row in theirs for token in row), len(texts),
                          call.site)


def read_as_encoders_own(encoder, rows):
    """Where the script numbers its words itself: what the ids mean in the encoder's own vocabulary."""
    own = own_tokenizer(encoder) if rows else None
    if own is None:
        return
    tokens = own.convert_ids_to_tokens([token for row in rows for token in row if token < len(own)])
    encoder.unused_share = facts.share(token.startswith("[unused") for token in tokens)
    encoder.start_share = facts.share(row[0] in (own.cls_token_id, own.bos_token_id) for row in rows)


def own_tokenizer(encoder):
    """The tokenizer that lies with the encoder's checkpoint, or None."""
    place = (encoder.loaded_from or encoder.name) if encoder is not None else None
    if not place or (os.path.isdir(place) and not set(os.listdir(place)) & TOKENIZER_FILES):
        return None
    from transformers import AutoTokenizer      # takes a second, and the script may do without transformers
    try:
        return AutoTokenizer.from_pretrained(place, local_files_only=True)
    except Exception:
        return None


def agreement(encoder, tokenizer, rows):
    """Share of ids that mean the same token in the tokenizer that lies with the encoder's checkpoint."""
    own = own_tokenizer(encoder)
    if own is None:
        return None
    ids = [token for row in rows[:200] for token in row]
    pairs = zip(tokenizer.convert_ids_to_tokens(ids), (token_of(own, token) for token in ids))
    return facts.share(mine == other for mine, other in pairs)


def token_of(tokenizer, number):
    try:
        return tokenizer.convert_ids_to_tokens(number)
    except (IndexError, OverflowError):
        return None
