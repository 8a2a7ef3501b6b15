"""Constants at the top of a script, overridden from outside by their own name: --LEARNING_RATE=2e-5.

The names, values and comments are read from the script's source and never by importing it, so `--help` costs nothing
and says what the file says. Only texts, numbers, True and False can be overridden; other constants are left alone.
"""

import ast
import difflib
import io
import math
import textwrap
import tokenize
from dataclasses import dataclass
from pathlib import Path

WIDTH = 120
KINDS = {bool: "True or False", int: "a whole number (int)", float: "a number (float)"}


class ConstantError(ValueError):
    """An argument that names no constant or does not fit it; the message is one line for people."""


@dataclass
class Constant:
    name: str
    value: object
    comment: str = ""       # the comment behind it, with the indented comment lines below joined
    group: str = ""         # the comment line above its group, such as 'data'


def read_constants(path):
    """The constants before the script's first function or class, in their order."""
    with tokenize.open(path) as file:
        source = file.read()
    comments = {token.start[0]: token for token in tokenize.generate_tokens(io.StringIO(source).readline)
                if token.type == tokenize.COMMENT}
    constants, group, seen = [], "", 0      # seen: the last line of the statement before
    for statement in ast.parse(source).body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            break
        constant = _constant(statement)
        group = _heading(comments, seen + 1, statement.lineno - 1) or group
        if constant is None:
            group = ""
        else:
            constant.group = group
            constant.comment = _trailing(comments, statement)
            constants.append(constant)
        seen = statement.end_lineno
    return constants


def _constant(statement):
    """NAME = literal, or None where the statement is anything else."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target = statement.target
    else:
        return None
    if not isinstance(target, ast.Name) or not target.id.isupper():
        return None
    try:
        value = ast.literal_eval(statement.value)
    except (TypeError, ValueError):
        return None
    return Constant(target.id, value) if isinstance(value, (str, bool, int, float)) else None


def _heading(comments, first, last):
    """The first line of the last block of comments that start a line between these two lines."""
    own = [line for line in range(first, last + 1) if line in comments and comments[line].start[1] == 0]
    while len(own) > 1 and own[-2] == own[-1] - 1:
        own.pop()
    return _text(comments[own[-1]]) if own else ""


def _trailing(comments, statement):
    """The comment behind a statement and the indented comment lines right below it, as one text."""
    line = statement.end_lineno
    found = [comments[line]] if line in comments else []
    while line + 1 in comments and comments[line + 1].start[1] > 0 and _alone(comments[line + 1]):
        line += 1
        found.append(comments[line])
    return " ".join(map(_text, found))


def _alone(comment):
    return comment.line[:comment.start[1]].isspace()


def _text(comment):
    return comment.string.lstrip("#").strip()


def override(constants, arguments):
    """What arguments like --NAME=value ask for: the values by name, each of its constant's own type."""
    by_name = {constant.name: constant for constant in constants}
    values = {}
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not name:
            raise ConstantError(f"{argument}: constants are given as --NAME=value (--help lists all)")
        if name not in by_name:
            raise ConstantError(unknown(name, by_name))
        if not equals:
            raise ConstantError(f"{argument}: its value is missing, as in --{name}={by_name[name].value}")
        if name in values:
            raise ConstantError(f"--{name} is given twice")
        values[name] = _value(by_name[name], text)
    return values


def name_of(argument):
    """NAME of --NAME=value."""
    return argument.removeprefix("--").partition("=")[0]


def unknown(name, names):
    """The message for a name that no constant bears, with the nearest one that is there."""
    return f"there is no constant {name}{nearest(name.upper().replace('-', '_'), names)} (--help lists all)"


def nearest(name, names):
    """'; did you mean NAME?', or nothing where no name is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _value(constant, text):
    kind = type(constant.value)
    try:
        if kind is bool:
            return {"True": True, "true": True, "False": False, "false": False}[text]
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError
        return value
    except (KeyError, ValueError):
        raise ConstantError(f"--{constant.name}={text}: {constant.name} is {KINDS[kind]}, "
                            f"as in --{constant.name}={constant.value}") from None


def help_text(path, constants, description):
    """What --help prints: how to call the script, then its constants by group with their values and comments."""
    lines = [f"usage: python {Path(path).name} [--NAME=value ...]"]
    if description:
        lines += ["", description.strip()]
    return "\n".join(lines + table(constants))


def table(constants):
    """Lines of the constants by group: name, value, comment, aligned."""
    names = max((len(constant.name) for constant in constants), default=0)
    values = max((len(_shown(constant.value)) for constant in constants), default=0)
    lines, group = [], None
    for constant in constants:
        if constant.group != group:
            group = constant.group
            lines += ["", group] if group else [""]
        start = f"  {constant.name:<{names}}  {_shown(constant.value):<{values}}  "
        comment = textwrap.wrap(constant.comment, max(WIDTH - len(start), 30)) or [""]
        lines.append((start + comment[0]).rstrip())
        lines += [" " * len(start) + more for more in comment[1:]]
    return lines


def _shown(value):
    return '""' if value == "" else str(value)
