"""What can go wrong on the way, in one line for people: disk, memory, numbers."""

import contextlib
import re

from training.memory import out_of_memory


class RunError(Exception):
    """A run that cannot go on to its end; the message is one line for people."""


def disk_problem(error):
    """The system's word for what was wrong with a write."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error).rpartition(": ")[2]


def what_is_kept(folder, best):
    """Which of a run's results can be used: its best epoch so far, or None, and its states."""
    states = sorted((folder / "state").glob("*.sha256"))
    kept = [f"the best model so far is epoch {best['epoch']}'s in {folder / 'best'}"] if best else []
    kept += [f"the last whole state is {states[-1].stem.replace('-', ' ')}"] if states else []
    return "; ".join(kept) or "nothing was saved yet"


def rows_told(table, rows):
    """Where in the table the rows of a batch stand."""
    lines = sorted(table.lines[row] for row in rows)
    shown = ", ".join(f"{line}" for line in lines[:256]) + (", ..." if len(lines) > 256 else "")
    return f"its rows begin on these {table.counts}s of {table.path}: {shown}"


@contextlib.contextmanager
def memory_told(settings):
    """Raises RunError where what is done in this context runs out of memory, before the first step as behind it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise RunError(memory_advice(error, settings)) from None


def memory_advice(error, settings):
    """What was asked, what was there, and the constants that need less and step alike."""
    batch, accumulation = settings.BATCH_SIZE, settings.GRADIENT_ACCUMULATION_STEPS
    fewest = 2 if settings.HEAD == "batchnorm" else 1
    size = next((size for size in range(batch // 2, fewest - 1, -1) if batch % size == 0), None)
    advice = "a smaller MAX_LENGTH needs less memory"
    if size:
        advice = f"BATCH_SIZE={size} with GRADIENT_ACCUMULATION_STEPS={accumulation * batch // size} makes steps of " \
                 "as many rows with less memory"
    said = " ".join(str(error).split()) or "the system gave no more memory"
    asked = ". ".join(re.sub(r"^\[.*?\] ", "", said).split(". ")[:3])
    return f"out of memory: {asked.rstrip('.')}. {advice}"
