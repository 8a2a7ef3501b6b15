"""What a check may say: a Finding, NotMeasured, or None when the fault is absent; and what trying its cure showed."""

from dataclasses import dataclass, field

from diagnosis.record.record import Setting, Site

LEVELS = ("error", "warning", "note")


@dataclass
class Finding:
    """A fault that the measurements show.

    level     'error' (the run cannot learn, or its numbers are wrong), 'warning' (it learns less than it could, or a
              figure misleads) or 'note'
    title     one line, lower case, no full stop; what was seen, not how to mend it
    evidence  what was measured in this run, by name; numbers, texts and lists of them
    why       one or two sentences: why that stops learning
    fix       one or two sentences: the smallest change that mends it
    where     the line, where known
    name      filled in by judge.py from the check's file name
    effect    "stops", "slows" or "misleads"; filled in by judge.py from the check's EFFECT where the check gives none
    set_by    where the value that acts in that line is set; filled in by judge.py from the check's SET_BY
    cures     what the trials of its cure showed, in order; the last one is the report's
    untried   why there was none
    """
    level: str
    title: str
    evidence: dict
    why: str
    fix: str
    where: Site | None = None
    name: str = field(default="")
    effect: str = ""
    set_by: Setting | None = None
    cures: list["Cure"] = field(default_factory=list)
    untried: str = ""


@dataclass
class NotMeasured:
    """The check could not be made, and why; never counted as passed."""
    reason: str


@dataclass
class Cure:
    """The script run again with one thing mended by the observer, same seed, beside the run as it is.

    The losses are [first, last]: means over the first and the last third of these steps, in nats; None where the run as
    it is came to none.
    """
    tried: str                  # what was changed, to be read behind "with"
    steps: int                  # losses compared
    loss_as_it_is: list[float | None]
    loss_mended: list[float | None]
    learns: bool                # the mended run
    helps: bool                 # it learns, and the run as it is does not or clearly less
    said: str                   # what came of it, in words
    lower: bool = False         # the mended loss is the lower by more than luck, whether that is learning or not
