"""The calls of transformers' tokenizers by the script."""

from dataclasses import dataclass

from diagnosis.observe.guard import quietly
from diagnosis.record import facts, source

CALLS = 60              # that are kept
TEXTS_OF_CALL = 400     # of each that are kept
DIFFERENT = 200_000     # texts that are told apart


@dataclass
class TokenizerCall:
    """One call, or many calls for one text each with the same settings."""
    tokenizer: object
    settings: dict                      # keyword arguments, the texts apart
    texts: list
    site: object = None


class TokenizerCalls:

    def __init__(self, guard):
        self.guard = guard
        self.calls = []
        self.different = set()          # hashes of all texts given

    @quietly
    def tokenized(self, tokenizer, args, kwargs):
        texts = args[0] if args else kwargs.get("text")
        single = isinstance(texts, str)
        texts = [texts] if single else texts
        if not isinstance(texts, (list, tuple)) or not texts or not isinstance(texts[0], str):
            return
        if len(self.different) < DIFFERENT:
            self.different.update(hash(text) for text in texts if isinstance(text, str))
        settings = {name: value for name, value in kwargs.items() if name not in ("text", "text_pair", "text_target")}
        last = self.calls[-1] if self.calls else None
        if last is not None and last.tokenizer is tokenizer and last.settings == settings and single:
            if len(last.texts) < TEXTS_OF_CALL:
                last.texts.append(texts[0])
        elif len(self.calls) < CALLS:
            self.calls.append(TokenizerCall(tokenizer, settings, list(texts[:TEXTS_OF_CALL]), source.site()))

    def first_tokenizer(self):
        return self.calls[0].tokenizer if self.calls else None

    def unknown_id(self):
        return getattr(self.first_tokenizer(), "unk_token_id", None)

    def pad_id(self, ids, encoder):
        """The padding's id in token ids (rows x width) that reach an encoder (None: any other model)."""
        config = getattr(encoder, "config", None)
        return facts.guess_pad_id(ids, getattr(self.first_tokenizer(), "pad_token_id", None),
                                  getattr(config, "pad_token_id", None))
