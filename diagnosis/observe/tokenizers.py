"""The calls of transformers' tokenizers by the script, and the tokenizers that its loaders' workers call unseen."""

import functools
import sys
from collections import Counter
from dataclasses import dataclass

from diagnosis.observe.guard import quietly
from diagnosis.record import facts, source

CALLS = 60              # of each tokenizer that are kept
OTHERS = 4              # tokenizers besides the first that are looked at
TEXTS_OF_CALL = 400     # of each that are kept
TEXT_NAMES = ("text", "text_pair", "text_target", "batch_text_or_text_pairs")
DEEPEST = 3             # attributes of attributes in which a tokenizer is looked for
DIFFERENT = 200_000     # texts that are told apart


@dataclass
class TokenizerCall:
    """One call, or many calls for one text each with the same settings."""
    tokenizer: object
    settings: dict                      # keyword arguments, the texts apart
    texts: list
    site: object = None
    bare: bool = False                  # of `tokenize`: tokens alone, which the script makes ids of by itself


class TokenizerCalls:

    def __init__(self, guard):
        self.guard = guard
        self.calls = []
        self.depth = 0                  # of tokenizers' methods within one another
        self.held = None                # a tokenizer in the data set or collate function of a loader with workers
        self.listening = False          # while the observer itself reads a data set in the workers' place
        self.given = {}                 # {id of a tokenizer: hashes of all texts given to it}
        self.kept = Counter()           # {id of a tokenizer: calls}

    @quietly
    def look_into(self, loader):
        if self.held is None and loader.num_workers:
            self.held = tokenizer_in(loader.dataset) or tokenizer_in(loader.collate_fn)

    def tokenized(self, tokenizer, args, kwargs, bare=False):
        """An outermost call of a tokenizer; bare: of its method `tokenize`."""
        if self.listening:
            self.guard.attempt(self.note, tokenizer, args, kwargs, bare)
        else:
            self.heard(tokenizer, args, kwargs, bare)

    @quietly
    def heard(self, tokenizer, args, kwargs, bare):
        self.note(tokenizer, args, kwargs, bare)

    def note(self, tokenizer, args, kwargs, bare):
        texts = args[0] if args else kwargs.get("text", kwargs.get("batch_text_or_text_pairs"))
        single = isinstance(texts, str)
        texts = [texts] if single else texts
        if not isinstance(texts, (list, tuple)) or not texts or not isinstance(texts[0], str):
            return
        given = self.given.setdefault(id(tokenizer), set())
        if len(given) < DIFFERENT:
            given.update(hash(text) for text in texts if isinstance(text, str))
        settings = {name: value for name, value in kwargs.items() if name not in TEXT_NAMES}
        if bare:
            settings.setdefault("add_special_tokens", False)
        last = self.calls[-1] if self.calls else None
        if last is not None and last.tokenizer is tokenizer and last.settings == settings and single:
            if len(last.texts) < TEXTS_OF_CALL:
                last.texts.append(texts[0])
        elif self.kept[id(tokenizer)] < CALLS:
            self.kept[id(tokenizer)] += 1
            self.calls.append(TokenizerCall(tokenizer, settings, list(texts[:TEXTS_OF_CALL]), source.site(), bare))

    def first_call(self):
        """The first that gave ids, else the first of all; None without any."""
        return next((call for call in self.calls if not call.bare), self.calls[0] if self.calls else None)

    def first_tokenizer(self):
        call = self.first_call()
        return call.tokenizer if call is not None else self.held

    def different_texts(self):
        return len(set().union(*self.given.values()))

    def others(self):
        """The first calls of other tokenizers of the same vocabulary, for texts that the first one was never given."""
        first = self.first_tokenizer()
        calls = {id(call.tokenizer): call for call in reversed(self.calls)
                 if call.tokenizer is not first and not call.bare
                 and self.given[id(first)].isdisjoint(self.given[id(call.tokenizer)])}
        vocabulary = first.get_vocab() if calls else None
        return [call for call in list(calls.values())[-OTHERS:] if call.tokenizer.get_vocab() == vocabulary]

    def unknown_id(self):
        return getattr(self.first_tokenizer(), "unk_token_id", None)

    def pad_id(self, ids, encoder):
        """The padding's id in token ids (rows x width) that reach an encoder (None: any other model)."""
        config = getattr(encoder, "config", None)
        return facts.guess_pad_id(ids, getattr(self.first_tokenizer(), "pad_token_id", None),
                                  getattr(config, "pad_token_id", None))


def tokenizer_in(owner, depth=0):
    """A tokenizer of transformers that a data set or function holds; None where none is found."""
    kind = getattr(sys.modules.get("transformers.tokenization_utils_base"), "PreTrainedTokenizerBase", None)
    if kind is None or isinstance(owner, kind):
        return owner if kind is not None else None
    found = (tokenizer_in(value, depth + 1) for value in held_by(owner)) if depth < DEEPEST else ()
    return next((tokenizer for tokenizer in found if tokenizer is not None), None)


def held_by(owner):
    """What an object or a function of the script's refers to by name."""
    if isinstance(owner, functools.partial):
        return [owner.func, *owner.args, *owner.keywords.values()]
    code = getattr(owner, "__code__", None)
    if code is not None:
        cells = [cell.cell_contents for cell in owner.__closure__ or ()]
        return cells + [owner.__globals__[name] for name in code.co_names if name in owner.__globals__]
    bound = getattr(owner, "__self__", None)
    if bound is not None:
        return [bound]
    own = type(owner).__module__.partition(".")[0] not in ("builtins", "torch", "numpy")
    return list(vars(owner).values()) if own and hasattr(owner, "__dict__") and not isinstance(owner, type(sys)) else []
