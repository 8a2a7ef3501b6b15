"""Warnings of libraries that name a cause; heard here, for many scripts turn them off and a log is seldom read."""

import functools
import logging
import re
import warnings

from diagnosis.record import source
from diagnosis.record.record import Warned

TELLING = re.compile(
    r"None of the inputs have requires_grad=True|odule\(s\) in eval mode|"
    r"lr_scheduler\.step\(\)` before `optimizer\.step|Using a target size .* different to the input size|"
    r"Token indices sequence length is longer than|Implicit dimension choice for softmax")
LONGEST = 300       # characters of one that are kept


def watch_warnings(observer):
    warn, handle = warnings.warn, logging.Logger.handle

    @functools.wraps(warn)
    def warned(message, category=None, stacklevel=1, *args, **kwargs):
        hear(observer, message)
        return warn(message, category, stacklevel + 1, *args, **kwargs)     # this function is one frame more

    @functools.wraps(handle)
    def handled(logger, entry):
        hear(observer, entry.getMessage)
        return handle(logger, entry)

    warnings.warn, logging.Logger.handle = warned, handled


def hear(observer, message):
    """message: a text or a warning, or a function that gives one."""
    if observer.guard.looks_away():
        return
    try:
        text = " ".join(str(message() if callable(message) else message).split())
    except Exception:
        return          # a log entry whose arguments do not fit its text
    known = observer.record.warnings
    if TELLING.search(text) and text[:LONGEST] not in [warned.text for warned in known]:
        known.append(Warned(text[:LONGEST], source.site()))
