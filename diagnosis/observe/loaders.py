"""The script's DataLoaders: which are passed over, which one trains, which one validates."""

import sys
import time
from collections import deque
from dataclasses import dataclass, field

from diagnosis.observe import libraries
from diagnosis.observe.guard import quietly
from diagnosis.record import nested, source
from diagnosis.record.examples import is_shuffled, sampler_of

RECENT = 8              # batches of one pass that are kept: loaders of accelerate fetch ahead
PASSES = 4              # forward passes of a loader that are kept, to learn how its batches map to ids and labels
VALIDATION_NAMES = ("val", "dev", "eval", "test")
EVALUATING = ("valid", "evaluat", "predict")       # in the name of a function


@dataclass
class SeenLoader:
    """One torch DataLoader of the script, or the several that one line makes one after the other."""
    loader: object
    made: object = None
    iterated: object = None             # where the first pass over it began
    place: tuple = ()                   # lines on the stack when it was made
    iterations: int = 0
    fetched: int = 0
    trained: int = 0                    # iterations in which a backward was seen
    votes: int = 0                      # backward calls that followed one of its batches
    names: set = field(default_factory=set)
    passes: list = field(default_factory=list)      # (recent batches, ids, target) of the first few forward passes
    late: bool = False                  # made when training was already left aside: of another fold, or of a last test

    def keep_pass(self, recent, ids, target):
        if len(self.passes) < PASSES and (ids is not None or target is not None):
            self.passes.append((recent, ids, target))


class Iteration:
    """One pass over a DataLoader, watched; behaves as the iterator in it."""

    def __init__(self, loaders, loader, seen_loader, inner):
        self.loaders, self.loader, self.seen_loader, self.inner = loaders, loader, seen_loader, inner
        self.fetched, self.trained, self.active = 0, False, True
        self.evaluates = looks_like_evaluation(seen_loader.names, sys._getframe(2))
        self.began, self.looked_at = time.monotonic(), None
        self.whole = False              # it came to its end by itself
        self.recent = deque(maxlen=RECENT)

    def __iter__(self):
        return self

    def __len__(self):
        return len(self.inner)

    def batches(self):
        """How many it gives in all; None where it does not say."""
        return source.length(self.loader)

    def __next__(self):
        if self.loaders.ends_early(self):
            if self.active:
                self.loaders.cut(sys._getframe(1))
            self.active = False
            raise StopIteration
        try:
            batch = next(self.inner)
        except StopIteration:
            self.active, self.whole = False, True
            raise
        self.loaders.fetched(self, batch)
        return batch

    def __getattr__(self, name):
        return getattr(self.__dict__["inner"], name)


class Loaders:
    """All loaders of the script and the pass over one that is going on."""

    def __init__(self, guard, stopping):
        self.guard, self.stopping = guard, stopping
        self.by_id = {}                 # id of a DataLoader: its SeenLoader
        self.kept = []                  # the DataLoaders themselves, so that their ids stay their own
        self.iteration = None           # the Iteration that gave the latest batch
        self.batches = 0                # fetched in all: the serial number of the latest one

    @quietly
    def made(self, loader):
        """A loader made anew by the same calls, once the one before was in use (in every epoch or fold), is taken for
        that one; the first one stands for all, so that the data of one fold are not held against another's."""
        place = source.place(sys._getframe())
        before = next((seen for seen in self.by_id.values() if seen.place == place and seen.iterations), None)
        late = self.stopping.training_over
        if late:
            before = None
        self.by_id[id(loader)] = before or SeenLoader(loader, source.site(), place=place, late=late)
        self.kept.append(loader)

    @quietly
    def iterated(self, loader, inner):
        seen_loader = self.by_id.setdefault(id(loader), SeenLoader(loader))
        seen_loader.iterations += 1
        seen_loader.iterated = seen_loader.iterated or source.site()
        if not seen_loader.names:
            seen_loader.names = source.names_of(loader, [frame.f_locals for frame in source.user_frames()[:4]])
        return Iteration(self, loader, seen_loader, inner)

    @quietly
    def fetched(self, iteration, batch):
        self.batches += 1
        self.iteration = iteration
        iteration.fetched += 1
        iteration.seen_loader.fetched += 1
        iteration.recent.append(nested.outer_copy(batch))
        self.stopping.check()

    @quietly
    def ends_early(self, iteration):
        return self.stopping.ends_early(iteration, self.training())

    @quietly
    def cut(self, frame):
        """A pass ends before its loader does; frame: the one that asked for a batch."""
        libraries.pass_is_cut(frame)

    def count_backward(self):
        """A backward call followed the latest batch: its loader may be the training loader."""
        iteration = self.iteration
        if iteration is None:
            return
        if not iteration.trained:
            iteration.trained = True
            iteration.seen_loader.trained += 1
        iteration.seen_loader.votes += 1

    def training(self):
        """The loader whose batches backward calls followed most often; None where there is none."""
        best = max(self.by_id.values(), key=lambda seen: seen.votes, default=None)
        return best if best is not None and best.votes else None

    def validation(self):
        """The loader that most looks like the validation data's; None where none does.

        One made after training was left aside counts only where there is no other: it may be another fold's.
        """
        training = self.training()
        able = [seen for seen in self.by_id.values() if seen is not training and not seen.votes
                and not any("train" in name.lower() for name in seen.names)
                and (training is None or seen.loader.dataset is not training.loader.dataset
                     or getattr(seen.loader.sampler, "indices", None) is not None)]
        able = [seen for seen in able if not seen.late] or [seen for seen in able if seen.fetched]
        return max(able, key=likeness_to_validation, default=None)

    def look_for_names(self, namespaces):
        for seen in self.by_id.values():
            seen.names |= source.names_of(seen.loader, namespaces)

    def in_training_pass(self):
        """Does the script stand in a pass over a loader whose batches it trains on? None where no batch was fetched."""
        return None if self.iteration is None else self.iteration.active and self.iteration.trained

    def epoch(self):
        """Passes over the training loader begun so far, from 0."""
        training = self.training()
        return max(0, training.trained - 1) if training is not None else 0


def looks_like_evaluation(names, frame):
    """A loader named after validation, or one of no telling name in a function that evaluates."""
    if any("train" in name.lower() for name in names):
        return False
    if any(word in name.lower() for name in names for word in VALIDATION_NAMES):
        return True
    while frame is not None:
        if any(word in frame.f_code.co_name.lower() for word in EVALUATING):
            return True
        frame = frame.f_back
    return False


def likeness_to_validation(seen):
    names = " ".join(seen.names).lower()
    named = next((len(VALIDATION_NAMES) - place for place, word in enumerate(VALIDATION_NAMES) if word in names), 0)
    ordered = is_shuffled(seen.loader, sampler_of(seen.loader)) is False
    return (seen.fetched > 0 or named > 0, named, seen.fetched > 0, ordered)
