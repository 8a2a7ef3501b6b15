"""Other rows of the script's data sets, read with its own loaders: how a batch maps to token ids and labels is learned
from the batches whose way into the model was seen."""

import contextlib
import random
import sys
import time

import torch
from torch.utils.data import IterableDataset, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from diagnosis.record import facts, nested
from diagnosis.record.record import Split

ROWS = 8_000        # of each data set that are read; copies across a split of 70,000 rows show from about so many on
SECONDS = 6         # for reading one
CHUNK = 32          # rows that are collated at once where the loader has no batch size


def learn(passes, tokenizer_calls):
    """(way to the ids, way to the labels) in a loader's batches: {'path', ...} or None each.

    passes              (batches that the loader gave lately, ids that reached the encoder, the loss's target) of a few
                        passes; loaders may fetch ahead, so a pass's own batch is the one that holds its ids
    tokenizer_calls     objects with tokenizer, settings, texts: the script's calls of its tokenizers
    """
    ids_way, pairs = None, []
    for batches, ids, target in passes:
        own = batches[::-1]
        for batch in own if ids is not None else []:
            found = way_to_ids(batch, ids, tokenizer_calls)
            if found is not None:
                ids_way, own = ids_way or found, [batch]
                break
        labels = flat_labels(target) if target is not None else None
        if labels:
            pairs.append((own, labels))
    return ids_way, labels_way(pairs, same=True) or labels_way(pairs, same=False)


def way_to_ids(batch, ids, calls):
    ids = ids.cpu()
    leaves = list(nested.leaves(batch))
    for path, leaf in leaves:
        value = nested.as_tensor(leaf)
        if value is not None and value.dim() == 2 and value.shape[0] == ids.shape[0]:
            if value.shape[1] >= ids.shape[1] and torch.equal(value[:, :ids.shape[1]].long(), ids.long()):
                return {"path": path, "width": int(ids.shape[1]) if value.shape[1] > ids.shape[1] else None}
    for path, leaf in leaves:
        if isinstance(leaf, list) and len(leaf) == ids.shape[0] and isinstance(leaf[0], str):
            call = next((call for call in reversed(calls) if leaf[0] in call.texts), None)
            if call is not None:
                return {"path": path, "call": call}
    return None


def labels_way(pairs, same):
    """The leaf that holds the loss's targets, or (same=False) others that stand for them by one table."""
    best = None
    paths = {path for batches, _ in pairs for batch in batches for path, _ in nested.leaves(batch)}
    for path in sorted(paths, key=str):
        table = {}
        for batches, wanted in pairs:
            tables = [table_of(batch, path, wanted) for batch in batches]
            found = next((each for each in tables if each is not None
                          and (not same or all(key == label for key, label in each.items()))), None)
            if found is None or any(table.get(key, label) != label for key, label in found.items()):
                table = None
                break
            table |= found
        if not table or (not same and len(pairs) < 2):
            continue
        several = len(set(table.values())) < len(table)     # values for one label, as in y > 0: needs more witnesses
        if several and sum(len(wanted) for _, wanted in pairs) < 3 * len(table):
            continue
        # A mask read as rows of ones would pass for labels that are all 0: a leaf with one value per row comes first.
        flat = all(_one_value_per_row(batch, path) for batches, _ in pairs for batch in batches)
        named = any(word in nested.key_of(path).lower() for word in ("label", "target", "class", "y"))
        if best is None or (flat, named) > best[0]:
            best = (flat, named), {"path": path, "table": None if same else table}
    return best[1] if best else None


def _one_value_per_row(batch, path):
    value = nested.as_tensor(nested.at(batch, path))
    return value is None or value.dim() == 1 or value.shape[1] == 1


def flat_labels(target):
    target = target.detach().cpu()
    return facts.describe_labels(target, int(target.shape[0])) if target.dim() else None


def table_of(batch, path, wanted):
    """{value in the batch: label} where they go together row by row."""
    try:
        values = values_at(batch, path)
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    if wanted is None or values is None or len(values) != len(wanted):
        return None
    table = {}
    for value, label in zip(values, wanted):
        if table.setdefault(value, label) != label:
            return None
    return table


def values_at(batch, path):
    leaf = nested.at(batch, path)
    if isinstance(leaf, list) and leaf and isinstance(leaf[0], str):
        return leaf
    value = nested.as_tensor(leaf)
    if value is None or value.dim() == 0 or (value.dim() == 2 and value.shape[1] > 1 and bool((value > 1).any())):
        return None
    return facts.describe_labels(value, int(value.shape[0]))


def read(loader, ways, pad_of):
    """(token ids of each row, labels or [], all rows read) of a loader's data set."""
    ids_way, labels_way = ways
    rows = rows_of(loader)
    if rows is None or ids_way is None:
        return [], [], False
    order = random.Random(0).sample(rows, min(len(rows), ROWS))     # drawn, so that any first part of it is a sample
    size, began, examples, labels = loader.batch_size or CHUNK, time.monotonic(), [], []
    for first in range(0, len(order), size):
        if time.monotonic() - began > SECONDS:
            break
        batch = collated(loader, order[first:first + size])
        found = ids_in(batch, ids_way)
        examples += facts.strip_padding(found, pad_of(found))
        labels += labels_in(batch, labels_way, len(found)) if labels_way else []
    if len(labels) != len(examples) or None in labels:
        known = [row for row, label in enumerate(labels) if label is not None] if len(labels) == len(examples) else []
        if 2 * len(known) < len(examples):
            return examples, [], len(examples) == len(rows)
        examples, labels = [examples[row] for row in known], [labels[row] for row in known]
    return examples, labels, len(examples) == len(rows)


def rows_of(loader):
    """The rows that a loader draws from; None where its data set has no rows that can be asked for."""
    data = loader.dataset
    if isinstance(data, IterableDataset) or not hasattr(data, "__getitem__"):
        return None
    indices = getattr(loader.sampler, "indices", None)
    return [int(row) for row in indices] if indices is not None else list(range(len(data)))


def collated(loader, rows):
    data = loader.dataset
    samples = data.__getitems__(rows) if hasattr(data, "__getitems__") else [data[row] for row in rows]
    if loader.batch_size is None and loader.batch_sampler is None:
        samples = torch.utils.data.default_collate(samples)
        return samples
    return loader.collate_fn(samples)


def ids_in(batch, way):
    if "call" in way:
        tokenizer, settings = way["call"].tokenizer, dict(way["call"].settings)
        settings.pop("return_tensors", None)
        encoded = tokenizer(list(nested.at(batch, way["path"])), **settings | {"padding": False})
        width = max(map(len, encoded["input_ids"]))
        pad = tokenizer.pad_token_id or 0
        return torch.tensor([row + [pad] * (width - len(row)) for row in encoded["input_ids"]])
    ids = nested.as_tensor(nested.at(batch, way["path"]))
    return ids[:, :way["width"]] if way["width"] else ids


def labels_in(batch, way, rows):
    values = values_at(batch, way["path"])
    if values is None or len(values) != rows:
        return []
    return values if way["table"] is None else [way["table"].get(value) for value in values]


def describe_split(loader, made, ways, pad_of):
    """A Split of one loader: what it says of itself, and the rows that it draws from.

    made    the Site where it was made
    ways    as `learn` gives them; None: its rows are not read
    pad_of  function from token ids (rows x width) to the padding's id
    """
    sampler = sampler_of(loader)
    split = Split(loader=type(loader).__name__, batch_size=loader.batch_size, made=made,
                  sampler=type(sampler).__name__, shuffled=is_shuffled(loader, sampler))
    with contextlib.suppress(Exception):
        split.batches = len(loader)
    with contextlib.suppress(Exception):
        rows = getattr(loader.sampler, "indices", None)
        split.rows = len(rows) if rows is not None else len(loader.dataset)
    if split.batch_size is None:
        split.batch_size = getattr(loader.batch_sampler, "batch_size", None)
    if ways is not None:
        with kept_randomness():
            split.examples, split.labels, split.complete = read(loader, ways, pad_of)
    return split


def sampler_of(loader):
    """What decides the order: the sampler in the batch sampler, or a batch sampler of the script's own itself."""
    if loader.batch_sampler is None:
        return loader.sampler
    return getattr(loader.batch_sampler, "sampler", None) or loader.batch_sampler


def is_shuffled(loader, sampler):
    if isinstance(loader.dataset, IterableDataset):
        return None
    if isinstance(sampler, (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)):
        return True
    name = type(sampler).__name__
    if name == "SequentialSampler":
        return False
    return bool(getattr(sampler, "shuffle")) if hasattr(sampler, "shuffle") else (True if "Random" in name else None)


@contextlib.contextmanager
def kept_randomness():
    """Leave the global random states as they were."""
    numpy = sys.modules.get("numpy")
    python, arrays, tensors = random.getstate(), numpy.random.get_state() if numpy else None, torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        torch.set_rng_state(tensors)
        if numpy:
            numpy.random.set_state(arrays)
