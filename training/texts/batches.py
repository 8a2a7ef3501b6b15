"""Batches of tokenized texts: tokenized once, kept end to end, drawn with texts of like length."""

from array import array
from dataclasses import dataclass

import numpy
import torch
from torch.utils.data import Dataset, Sampler
from tqdm.auto import tqdm


@dataclass
class Encoded(Dataset):
    """Tokenized texts, end to end in one array: the ids of row i are ids[starts[i]:starts[i + 1]]."""
    ids: numpy.ndarray          # uint16 where the vocabulary is small enough, else int32
    starts: numpy.ndarray       # int64, rows + 1
    labels: numpy.ndarray       # int64
    second_starts: numpy.ndarray | None = None      # of pairs of texts: a row's tokens before its second text, where
                                                    # the checkpoint tells the two apart
    bottom: object = None       # a BottomStates of training/encoder/frozen.py, where what frozen layers give is kept

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        one = row, self.ids[self.starts[row]:self.starts[row + 1]], self.labels[row]
        return one if self.second_starts is None else (*one, self.second_starts[row])

    def lengths(self):
        return numpy.diff(self.starts)


class Tokens:
    """The ids of each row of an Encoded, cut out when asked for: all of them at once would take more than the rows."""

    def __init__(self, encoded):
        self.encoded = encoded

    def __len__(self):
        return len(self.encoded)

    def __getitem__(self, row):
        return self.encoded[row][1]


def encode(texts, labels, tokenizer, max_length, seconds=(), chunk=4096):
    """Tokenize once, with the special tokens, cut at max_length; of a pair of texts the longer one is cut first.

    Args:
        seconds: each text's partner, where rows are pairs of texts.
    """
    short = max(tokenizer.get_vocab().values()) < 1 << 16
    typed = bool(seconds) and tells_texts_apart(tokenizer)
    ids, lengths, second_starts = array("H" if short else "i"), array("q", [0]), array("q")     # these grow in place
    for start in tqdm(range(0, len(texts), chunk), "tokenize", leave=False, disable=None):
        rows = tokenizer(*(column[start:start + chunk] for column in (texts, seconds) if column), truncation=True,
                         max_length=max_length, return_attention_mask=False, return_token_type_ids=typed)
        lengths.extend(map(len, rows["input_ids"]))
        for row in rows["input_ids"]:
            ids.extend(row)
        second_starts.extend(types.count(0) for types in rows["token_type_ids"]) if typed else None
    return Encoded(numpy.asarray(ids), numpy.cumsum(lengths), labels, numpy.asarray(second_starts) if typed else None)


def tells_texts_apart(tokenizer):
    """Whether the checkpoint was trained with token types: 0 in the first text of a pair, 1 in the second."""
    return "token_type_ids" in tokenizer.model_input_names


def uncut_lengths(texts, tokenizer, seconds=(), most=1000):
    """Tokens of each of the first texts or pairs, uncut: how much a maximal length would cut shows in so many."""
    rows = tokenizer(*(column[:most] for column in (texts, seconds) if column), truncation=False, verbose=False,
                     return_attention_mask=False)
    return list(map(len, rows["input_ids"]))


class LikeLengthBatches(Sampler):
    """Batches of rows of like length: shuffled, cut into pools, sorted within a pool, the batches shuffled again.

    Texts that share a batch then need little padding, and the order stays random. A rest of fewer than two rows for
    each process, or shorter than a quarter of a batch, is merged into the last batch of its pool, so that BatchNorm has
    rows to take its statistics from. Of several processes each gets its own rows of every batch, its rank-th and every
    processes-th from there: batch_size is that of all of them together.
    """

    def __init__(self, lengths, batch_size, pool_batches, seed, rank=0, processes=1):
        self.lengths, self.batch_size, self.pool = lengths, batch_size, batch_size * pool_batches
        self.seed, self.epoch, self.skipped = seed, 0, 0
        self.accumulation = 1       # batches to an optimizer step
        self.rank, self.processes = rank, processes
        whole, rest = divmod(len(lengths), batch_size)
        self.merged = rest if whole and rest and (rest < 2 * processes or 4 * rest < batch_size) else 0
        self.count = whole + (rest > self.merged)

    def __len__(self):
        return self.count

    def __iter__(self):
        """The batches of the epoch set in self.epoch: the same for the same seed, rows and epoch.

        The first self.skipped of them are left out: a resumed run has seen them.
        """
        random = numpy.random.default_rng([self.seed, self.epoch])
        order = random.permutation(len(self.lengths))
        batches = []
        for start in range(0, len(order), self.pool):
            pool = order[start:start + self.pool]
            pool = pool[numpy.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[at:at + self.batch_size] for at in range(0, len(pool), self.batch_size)]
        if self.merged:
            rest = batches.pop()
            batches[-1] = numpy.concatenate([batches[-1], rest])
        order = random.permutation(len(batches))
        if self.epoch <= 1:     # memory that does not suffice shows at once
            positions = [len(batch) * self.lengths[batch].max() for batch in batches]
            largest = sorted(order, key=lambda at: -positions[at])[:2]
            order = [at for at in order if at not in largest]
            # the second where the optimizer has its moments and, of several batches to a step, the gradients are there
            for place, at in zip((0, 2 * self.accumulation - 1), largest):
                order.insert(place, at)
        return (batches[at][self.rank::self.processes].tolist() for at in order[self.skipped:])


def padded(rows, pad_id, bottom=None, layout_of=None):
    """One batch of tensors: row numbers, ids and mask [rows, longest], lengths and labels of the rows.

    Of pairs of texts whose second ones are known to begin somewhere, the token types [rows, longest] are in it too.
    Where the BottomStates given know all the rows, their states are in it too, as `bottom`; as `layout` what layout_of
    makes of lengths and width, if it is given.
    """
    numbers, ids, labels, *second_starts = zip(*rows)
    lengths = list(map(len, ids))
    width = max(lengths)
    input_ids = numpy.full((len(ids), width), pad_id, dtype=numpy.int64)
    attention_mask = numpy.zeros((len(ids), width), dtype=numpy.int64)
    for row, tokens in enumerate(ids):
        input_ids[row, :len(tokens)] = tokens
        attention_mask[row, :len(tokens)] = 1
    known = bottom is not None and bottom.known[list(numbers)].all()
    lengths = torch.tensor(lengths)
    return {"rows": torch.tensor(numbers), "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(attention_mask), "lengths": lengths,
            "labels": torch.tensor(numpy.array(labels)), **({"bottom": bottom.of(numbers, width)} if known else {}),
            **({"layout": layout_of(lengths, width)} if layout_of else {}),
            **({"token_type_ids": (torch.arange(width) >= torch.tensor(second_starts[0])[:, None]).long()}
               if second_starts else {})}
