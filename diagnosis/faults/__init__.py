"""The catalogue of faults: one file per fault, named after it. verdict/judge.py asks each of them about a record.

A fault's file holds, in this order:
- its docstring: the first line is the meaning (`--list` prints it), the rest the page that `--explain` prints, with
  the headings What it is, How it shows, How it is found, Wrong, Right, Not to be confused with. The tests run both
  examples: the doctor must name the fault in the one and no error in the other;
- GROUP: 'data', 'input', 'model', 'optimization', 'precision' or 'evaluation';
- EFFECT: 'stops' (nothing is learned), 'slows' (less is learned) or 'misleads' (the figures are wrong);
- CAUSED_BY: names of the faults that produce this one; it then stands behind them;
- SET_BY, where the fault is a value's: its name in record/origins.py, for the line in which the script sets it;
- NO_TRIAL: where no cure, or not always one, can be tried: why, in words behind "nothing: ";
- check(record): a plain function from a Record to a Finding, to NotMeasured, or to None;
- mend(record): what would mend it in this run, a Mend (cures/mends.py) or None; not where NO_TRIAL always holds.

To add a fault, add such a file and a test; nothing else lists them. What several checks measure has its place in
verdict/measures.py (labels, outputs, texts) or verdict/course.py (steps, losses, rates, schedules).
"""

import importlib
import pkgutil

GROUPS = ("data", "input", "model", "optimization", "precision", "evaluation")


def name_of(fault):
    """'schedule-per-epoch' for the module schedule_per_epoch."""
    return fault.__name__.rpartition(".")[2].replace("_", "-")


def catalogue():
    """Every fault's module by name, group after group."""
    modules = [importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)]
    modules.sort(key=lambda module: (GROUPS.index(module.GROUP), module.__name__))
    return {name_of(module): module for module in modules}
