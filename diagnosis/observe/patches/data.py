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
        observer.tokenizers.look_into(loader)
        watched = observer.loaders.iterated(loader, inner)
        return inner if watched is None else watched

    DataLoader.__init__, DataLoader.__iter__ = init, iterate


def watch_tokenizers(observer, module):
    """The methods of a module's tokenizer classes that give ids or tokens, as far as this release has them."""
    for kind in [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]:
        for name in ("__call__", "encode", "encode_plus", "batch_encode_plus", "tokenize"):
            if name in vars(kind) and hasattr(kind, "convert_tokens_to_ids"):
                setattr(kind, name, watched_tokenizer(observer, vars(kind)[name], bare=name == "tokenize"))


def watched_tokenizer(observer, original, bare):
    calls = observer.tokenizers

    @functools.wraps(original)
    def watched(tokenizer, *args, **kwargs):
        calls.depth += 1
        try:
            result = original(tokenizer, *args, **kwargs)
        finally:
            calls.depth -= 1
        if not calls.depth:
            calls.tokenized(tokenizer, args, kwargs, bare)
        return result
    return watched
