"""Loaders and tokenizers."""

import functools

from torch.utils.data import DataLoader


def watch_loaders(observer):
    made, iterated = DataLoader.__init__, DataLoader.__iter__

    @functools.wraps(made)
    def init(loader, *args, **kwargs):
        made(loader, *args, **kwargs)
        observer.loaders.made(loader)

    @functools.wraps(iterated)
    def iterate(loader):
        inner = iterated(loader)
        watched = observer.loaders.iterated(loader, inner)
        return inner if watched is None else watched

    DataLoader.__init__, DataLoader.__iter__ = init, iterate


def watch_tokenizers(observer, module):
    kind = module.PreTrainedTokenizerBase
    for name in ("__call__", "encode"):
        if name in vars(kind):
            setattr(kind, name, watched_tokenizer(observer, vars(kind)[name]))


def watched_tokenizer(observer, original):
    @functools.wraps(original)
    def watched(tokenizer, *args, **kwargs):
        result = original(tokenizer, *args, **kwargs)
        observer.tokenizers.tokenized(tokenizer, args, kwargs)
        return result
    return watched
