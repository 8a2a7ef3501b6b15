"""What a check may say: a Finding, NotMeasured, or None when the fault is absent."""

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
    set_by    where the value that acts in that line is set; filled in by judge.py from the check's SET_BY
    """
    level: str
    title: str
    evidence: dict
    why: str
    fix: str
    where: Site | None = None
    name: str = field(default="")
    set_by: Setting | None = None


@dataclass
class NotMeasured:
    """The check could not be made, and why; never counted as passed."""
    reason: str
