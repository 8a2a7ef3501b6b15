"""At the stop: the data sets as they reach the encoder, the tokenizer, and the encoder's features before training."""

import copy
import math
import os
import random
import time

import torch

from diagnosis.record import examples, facts
from diagnosis.record.record import Split, Tokenizer
from diagnosis.observe.seen import SeenLoader

FEATURE_ROWS = 640      # rows of which frozen-encoder features are computed: the control needs 500
FEATURE_POOL = 160      # of these are sorted by length together, so that little padding is computed
FEATURE_TOKENS = 128    # of a text
FEATURE_SECONDS = 10
TEXTS = 400             # texts whose lengths are measured
LABELS = 4_000          # labels kept in the order in which they came
TOKENIZER_FILES = {"tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
                   "tokenizer.model"}


def fill_splits(seen):
    record, training = seen.record, seen.training_loader()
    pad_of = seen.pad_id
    ways = None
    if training is not None:
        ways = seen.attempt(examples.learn, training.seen, seen.tokenizer_calls) or (None, None)
        record.training = seen.attempt(examples.describe_split, training, ways, pad_of) or \
            seen.attempt(examples.describe_split, training, None, pad_of) or Split()
    of_role = lambda role: [one for one in seen.samples if one[0].role == role]
    observed(record.training, of_role("training"), record.several_texts)
    record.training.order_labels = [label for _, _, labels in of_role("training") for label in labels][:LABELS]
    chosen = examples.choose_validation(seen.loaders.values(), training)
    if chosen is None and seen.trainer is not None and getattr(seen.trainer, "eval_dataset", None) is not None:
        loader = seen.attempt(seen.trainer.get_eval_dataloader)
        chosen = SeenLoader(loader) if loader is not None else None
    if chosen is not None:
        own = seen.attempt(examples.learn, chosen.seen, seen.tokenizer_calls) if chosen.seen else None
        own = tuple(mine or other for mine, other in zip(own or (None, None), ways or (None, None)))
        record.validation = seen.attempt(examples.describe_split, chosen, own, pad_of) or \
            seen.attempt(examples.describe_split, chosen, None, pad_of)
    passes = of_role("validation")
    if record.validation is None and passes:
        record.validation = Split()
    if record.validation is not None:
        observed(record.validation, passes, record.several_texts)
        record.validation.order_labels = [label for _, _, labels in passes for label in labels][:LABELS]
    labels = record.training.labels or record.training.order_labels
    ignored = {-100} if any(one.ignored for one in record.batches) else set()
    record.classes = len(set(labels) - ignored) or None


def observed(split, passes, several_texts=False):
    """Where no data set could be read: the rows of the passes that were seen, each row once."""
    if several_texts:
        split.examples = []
        return
    if split.examples:
        return
    found, seen_rows = [], set()
    for _, ids, labels in passes:
        for index, row in enumerate(ids):
            label = labels[index] if len(labels) == len(ids) else None
            key = (tuple(row), label)
            if key not in seen_rows and len(found) < examples.ROWS:
                seen_rows.add(key)
                found.append((row, label))
    split.examples = [row for row, _ in found]
    if all(label is not None for _, label in found):
        split.labels = [label for _, label in found]


def fill_features(seen):
    """Mean-pooled outputs of the encoder as it stood before training, for the first rows of the training examples."""
    described, split = seen.described, seen.record.training
    encoder = described["encoder"] if described else None
    if encoder is None or not split.examples or described["state"] is None:
        return
    frozen = copy.deepcopy(encoder).eval()
    inside = facts.names_in(described["model"], encoder)
    by_name = {name_inside: described["state"].get(name) for name, name_inside in inside.values() if name_inside}
    longest = getattr(getattr(encoder, "config", None), "max_position_embeddings", 512) or 512
    rows = [row[:min(longest - 2, FEATURE_TOKENS)] or [0] for row in split.examples[:FEATURE_ROWS]]
    features, ends = [], time.monotonic() + FEATURE_SECONDS
    with torch.no_grad():
        for name, one in frozen.named_parameters():
            if by_name.get(name) is not None:
                one.copy_(by_name[name])
        for first in range(0, len(rows), FEATURE_POOL):
            pooled = pooled_outputs(frozen, rows[first:first + FEATURE_POOL], ends)
            if pooled is None:
                break
            features += pooled
    if all(math.isfinite(value) for row in features for value in row):
        split.features = features


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


def fill_tokenizer(seen):
    if not seen.tokenizer_calls:
        fill_own_vocabulary(seen)
        return
    first = seen.tokenizer_calls[0]
    tokenizer, settings = first["tokenizer"], first["settings"]
    texts = [text for call in seen.tokenizer_calls if call["tokenizer"] is tokenizer for text in call["texts"]]
    if len(texts) > TEXTS:
        texts = random.Random(0).sample(texts, TEXTS)
    read = lambda name: getattr(tokenizer, name, None)
    fact = Tokenizer(name=str(read("name_or_path") or ""), kind=type(tokenizer).__name__,
                     vocabulary_size=len(tokenizer), unknown_id=read("unk_token_id"), pad_id=read("pad_token_id"),
                     start_id=read("cls_token_id") if read("cls_token_id") is not None else read("bos_token_id"),
                     end_id=read("sep_token_id") if read("sep_token_id") is not None else read("eos_token_id"),
                     truncation=settings.get("truncation") not in (None, False, "do_not_truncate"), site=first["site"],
                     max_length=settings.get("max_length"))
    if fact.truncation and fact.max_length is None and (read("model_max_length") or 1e9) < 1e6:
        fact.max_length = int(tokenizer.model_max_length)
    plain = {name: settings[name] for name in ("add_special_tokens",) if name in settings}
    cut = {name: settings[name] for name in ("truncation", "max_length", "add_special_tokens") if name in settings}
    full = tokenizer(texts, **plain, verbose=False)["input_ids"]
    kept = tokenizer(texts, **cut, verbose=False)["input_ids"]
    fact.full_lengths, fact.kept_lengths = [len(row) for row in full], [len(row) for row in kept]
    split = seen.record.training
    label_of = {tuple(row): label for row, label in zip(split.examples, split.labels)} if split.labels else {}
    for text, row in list(zip(texts, kept))[:5]:
        fact.shown.append({"text": text[:500], "tokens": tokenizer.convert_ids_to_tokens(row)[:64], "ids": row[:64],
                           "label": label_of.get(tuple(row))})
    seen.record.tokenizer = fact
    fact.own_agreement = agreement(seen, tokenizer, kept)


def fill_own_vocabulary(seen):
    """Where the script numbers its words itself: what the ids mean in the encoder's own vocabulary."""
    encoder, rows = seen.record.encoder, [row for row in seen.record.training.examples[:TEXTS] if row]
    own = own_tokenizer(encoder) if rows else None
    if own is None:
        return
    tokens = own.convert_ids_to_tokens([one for row in rows for one in row if one < len(own)])
    encoder.unused_share = facts.share(token.startswith("[unused") for token in tokens)
    encoder.start_share = facts.share(row[0] in (own.cls_token_id, own.bos_token_id) for row in rows)


def own_tokenizer(encoder):
    """The tokenizer that lies with the encoder's checkpoint, or None."""
    place = (encoder.loaded_from or encoder.name) if encoder is not None else None
    if not place or (os.path.isdir(place) and not set(os.listdir(place)) & TOKENIZER_FILES):
        return None
    from transformers import AutoTokenizer
    try:
        return AutoTokenizer.from_pretrained(place, local_files_only=True)
    except Exception:
        return None


def agreement(seen, tokenizer, rows):
    """Share of ids that mean the same token in the tokenizer that lies with the encoder's checkpoint."""
    own = own_tokenizer(seen.record.encoder)
    if own is None:
        return None
    ids = [one for row in rows[:200] for one in row]
    pairs = zip(tokenizer.convert_ids_to_tokens(ids), (token_of(own, one) for one in ids))
    return facts.share(mine == other for mine, other in pairs)


def token_of(tokenizer, one):
    try:
        return tokenizer.convert_ids_to_tokens(one)
    except (IndexError, OverflowError):
        return None
