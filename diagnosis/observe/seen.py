"""What the observer holds of one forward pass, one loader, one schedule; and the rule for every observing method."""

import functools
import os
from collections import deque
from dataclasses import dataclass, field

from diagnosis.record.record import Batch


def quietly(method):
    """Let no error of an observing method reach the script; nested calls and other processes are left alone."""
    @functools.wraps(method)
    def wrapped(self, *args, **kwargs):
        if self.quiet or os.getpid() != self.pid:
            return None
        self.quiet = True
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.note(error)
            return None
        finally:
            self.quiet = False
    return wrapped


@dataclass
class LossCall:
    """One call of a loss function of torch.nn.functional."""
    name: str
    function: object
    arguments: dict             # by name, the input and the target among them
    result: object = None
    site: object = None
    inside: bool = False        # called within the model's forward
    input_value: object = None  # detached, as the loss saw it


@dataclass
class Pass:
    """One forward pass that is going on, with the live tensors of it."""
    batch: Batch
    serial: int                         # batches fetched from loaders before it
    iteration: object = None            # the loader's iteration that it belongs to
    calls: list = field(default_factory=list)       # (outermost module, args, kwargs, output)
    losses: list = field(default_factory=list)
    ids: object = None                  # rows x width
    mask: object = None
    starts: object = None               # where each row begins, if the encoder is given them end to end in one row
    encoder_seen: bool = False
    first_token: object = None          # the encoder's output at each row's first token
    backward: bool = False
    target: object = None
    recent: list = field(default_factory=list)      # batches that its loader gave lately, this pass's among them


@dataclass
class SeenLoader:
    """One torch DataLoader of the script, or the several that one line makes one after the other."""
    loader: object
    made: object = None
    place: tuple = ()                   # lines on the stack when it was made
    iterations: int = 0
    fetched: int = 0
    trained: int = 0                    # iterations in which a backward was seen
    votes: int = 0                      # backward calls that followed one of its batches
    names: set = field(default_factory=set)
    seen: list = field(default_factory=list)        # (batch, ids, target) of a few passes


@dataclass
class SeenSchedule:
    scheduler: object
    kind: str
    maker: str
    arguments: dict
    made: object
    copy: object = None                 # as made, for working out its factors
    names: set = field(default_factory=set)
    calls_at: list = field(default_factory=list)
    call_site: object = None
    in_batch_loop: bool | None = None
    factors: list = field(default_factory=list)


@dataclass
class Freeze:
    """One line that froze something, with weak references to what it froze."""
    site: object
    kind: str
    touched: dict = field(default_factory=dict)     # id -> weakref of the parameter


class Iteration:
    """One pass over a DataLoader, watched; behaves as the iterator in it."""

    def __init__(self, observer, seen, inner):
        self.observer, self.seen, self.inner = observer, seen, inner
        self.fetched, self.trained, self.active = 0, False, True
        self.recent = deque(maxlen=8)       # loaders of accelerate fetch ahead

    def __iter__(self):
        return self

    def __len__(self):
        return len(self.inner)

    def __next__(self):
        if self.observer.ends_early(self):
            self.active = False
            raise StopIteration
        try:
            batch = next(self.inner)
        except StopIteration:
            self.active = False
            raise
        self.observer.fetched(self, batch)
        return batch

    def __getattr__(self, name):
        return getattr(self.__dict__["inner"], name)
