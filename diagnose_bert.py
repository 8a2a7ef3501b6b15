"""Why does this fine-tuning run not learn? Names the cause, from evidence measured in the run itself.

    python diagnose_bert.py                             the run that BERT_main_aggressive.py would do now
    python diagnose_bert.py --LEARNING_RATE=0           the same with constants overridden by name
    python diagnose_bert.py train.py [its arguments]    any PyTorch text-classification script, unmodified
    python diagnose_bert.py --explain schedule-per-epoch
    python diagnose_bert.py --list                      every fault that it knows

The script runs in a process of its own until enough optimizer steps were seen, then it is stopped and judged; after
that it runs again with what was found mended, to see whether it learns then. Its files are not changed. Constants of
the doctor stand before the script's path; what follows the path is the script's. Exit status: 0 no error found, 1 at
least one error found or a run that does not learn, 2 the examination could not be done.
"""

import os
import sys
from pathlib import Path

from training.constants import ConstantError, help_text, name_of, nearest, override, read_constants, table, unknown
from diagnosis.examine import examine, problem_with_script
from diagnosis.faults import GROUPS, catalogue
from training.settings import KINDS, NONE_IS_ZERO

# the examination
REPORT_DIR = "runs/diagnosis"       # folder for report.md, report.json, two pictures and the script's output
TIME_LIMIT = 300.0                  # seconds after which the script is ended and judged by what was seen
CURE = True                         # try the cure of what was found: the script runs again with only that mended

TRAINING_SCRIPT = Path(__file__).resolve().with_name("BERT_main_aggressive.py")      # the target when no path is given


def split_arguments(arguments):
    """(own arguments, the script's path or None, the script's arguments): the first one without -- is the path."""
    for i, argument in enumerate(arguments):
        if not argument.startswith("-"):
            return arguments[:i], argument, arguments[i + 1:]
    return arguments, None, []


def sort_by_owner(arguments, own, training):
    """Own constants' values, and the arguments that name constants of the training script, both checked."""
    names = {constant.name for constant in own}
    mine = [argument for argument in arguments if name_of(argument) in names]
    theirs = [argument for argument in arguments if argument not in mine]
    known = names | {constant.name for constant in training}
    for argument in theirs:
        name = name_of(argument)
        if argument.startswith("--") and name and name not in known:
            raise ConstantError(unknown(name, known))
    override(training, theirs)
    return override(own, mine), theirs


def explained_fault(arguments, following):
    """NAME of --explain NAME or --explain=NAME; None where nothing is to be explained."""
    if "--explain" in arguments:
        return following or ""
    return next((argument.partition("=")[2] for argument in arguments if argument.startswith("--explain=")), None)


def explain(name):
    """The page of one fault."""
    faults = catalogue()
    if name not in faults:
        if not name:
            raise ConstantError("--explain needs the name of a fault (--list lists all)")
        hint = nearest(name.lower().replace("_", "-"), faults)
        raise ConstantError(f"there is no fault {name}{hint} (--list lists all)")
    meaning, _, page = faults[name].__doc__.strip().partition("\n")
    return f"{name}: {meaning}\n{page.rstrip()}"


def list_faults():
    """Every fault's name with its meaning, by group."""
    faults = catalogue()
    longest = max(map(len, faults))
    lines = []
    for group in GROUPS:
        lines += [group] + [f"  {name:<{longest}}  {fault.__doc__.strip().splitlines()[0]}"
                            for name, fault in faults.items() if fault.GROUP == group] + [""]
    return "\n".join(lines + ["python diagnose_bert.py --explain NAME tells more"])


def helped(own, training):
    """What --help prints: the ways in, the own constants and those of the training script."""
    text = help_text(__file__, own, __doc__).replace("[--NAME=value ...]", "[--NAME=value ...] [script] [arguments]", 1)
    if training:
        text += f"\n\npassed on to {TRAINING_SCRIPT.name} when no script is given\n" + "\n".join(table(training))
    return text


def default_target():
    """The training script beside this one, relative to the working directory where it lies below it."""
    here = Path.cwd()
    return str(TRAINING_SCRIPT.relative_to(here) if TRAINING_SCRIPT.is_relative_to(here) else TRAINING_SCRIPT)


def main(arguments):
    own_arguments, script, script_arguments = split_arguments(arguments)
    try:
        own = read_constants(__file__, {"REPORT_DIR": str, "TIME_LIMIT": float, "CURE": bool})
        training = [] if problem_with_script(TRAINING_SCRIPT) else read_constants(TRAINING_SCRIPT, KINDS, NONE_IS_ZERO)
        wanted = explained_fault(own_arguments, script)
        if wanted is not None:
            print(explain(wanted))
            return 0
        if "--list" in own_arguments:
            print(list_faults())
            return 0
        if {"--help", "-h"} & set(own_arguments):
            print(helped(own, training))
            return 0
        values, passed_on = sort_by_owner(own_arguments, own, [] if script else training)
    except ConstantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    values = {constant.name: constant.value for constant in own} | values
    return examine(script or default_target(), script_arguments if script else passed_on,
                   values["REPORT_DIR"], values["TIME_LIMIT"], values["CURE"])


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:     # `| head` has seen enough; the report is written all the same
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)
