"""Constants at the top of a script, overridden from outside by their own name: --LEARNING_RATE=2e-5.

The names, values and comments are read from the script's source and never by importing it, so `--help` costs nothing
and says what the file says. Where the script's author has told of which kind a constant is, whatever can be meant by
what a user wrote there is taken as that, and anything else is refused with its line. Of other constants only texts,
numbers, True and False can be overridden; the rest is left alone.
"""

import ast
import difflib
import io
import math
import operator
import textwrap
import tokenize
from dataclasses import dataclass
from pathlib import Path

WIDTH = 120
SAID = {bool: "True or False", int: "a whole number (int)", float: "a number (float)", str: "a text (str)"}

ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
              ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
              ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Not: operator.not_}


class ConstantError(ValueError):
    """An argument that names no constant or does not fit it; the message is one line for people."""


@dataclass
class Constant:
    name: str
    value: object
    comment: str = ""       # the comment behind it, with the indented comment lines below joined
    group: str = ""         # the comment line above its group, such as 'data'
    kind: type = str        # bool, int, float or str


def read_constants(path, kinds=(), none_is_zero=()):
    """The constants before the script's first function or class, in their order.

    Args:
        kinds: {name: bool, int, float or str} of those whose kind is known, whatever is written there.
        none_is_zero: names of numbers of which 0 means none.

    Raises:
        ConstantError: the value of one of these cannot be meant as its kind.
    """
    with tokenize.open(path) as file:
        source = file.read()
    comments = {token.start[0]: token for token in tokenize.generate_tokens(io.StringIO(source).readline)
                if token.type == tokenize.COMMENT}
    constants, values, group, seen = {}, {}, "", 0      # seen: the last line of the statement before
    for statement in ast.parse(source).body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            break
        constant = _constant(statement, values, dict(kinds), none_is_zero, Path(path).name)
        group = _heading(comments, seen + 1, statement.lineno - 1) or group
        if constant is None:
            group = ""
        else:
            constant.group = group
            constant.comment = _trailing(comments, statement)
            constants[constant.name] = constant
        seen = statement.end_lineno
    return list(constants.values())


def _constant(statement, values, kinds, none_is_zero, script):
    """NAME = value as a Constant, or None where the statement is anything else.

    Args:
        values: {name: value} of the constants above, to which this one is added.
    """
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, expression = statement.targets[0], statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target, expression = statement.target, statement.value
    elif isinstance(statement, ast.AugAssign):      # NAME *= 2
        target = statement.target
        expression = ast.BinOp(ast.Name(getattr(target, "id", "")), statement.op, statement.value)
    else:
        return None
    if not isinstance(target, ast.Name) or not target.id.isupper():
        return None
    kind = kinds.get(target.id)
    try:
        value = values[target.id] = _value_of(expression, values)
        if kind is not None:
            value = 0 if value is None and target.id in none_is_zero else value
            return Constant(target.id, meant(value, kind), kind=kind)
    except (TypeError, ValueError, ArithmeticError, KeyError):
        if kind is not None:
            written = " ".join(ast.unparse(getattr(statement, "value")).split())
            raise ConstantError(f"{script}, line {statement.lineno}: {target.id} = {written[:60]}: {target.id} is "
                                f"{SAID[kind]}") from None
        return None
    return Constant(target.id, value, kind=type(value)) if isinstance(value, (str, bool, int, float)) else None


def _value_of(expression, values):
    """What an expression is: literals, constants above, arithmetic, lists, Path(...), int(...), float(...), str(...).

    Raises:
        TypeError, ValueError, ArithmeticError, KeyError: it is none, or has no value.
    """
    def value_of(part):
        return _value_of(part, values)

    if isinstance(expression, ast.Constant) and not isinstance(expression.value, (bytes, complex, type(...))):
        return expression.value
    if isinstance(expression, ast.Name):
        return values[expression.id]
    if isinstance(expression, (ast.Tuple, ast.List)):
        return [value_of(part) for part in expression.elts]
    if isinstance(expression, ast.UnaryOp):
        return ARITHMETIC[type(expression.op)](value_of(expression.operand))
    if isinstance(expression, ast.BinOp):
        left, right = value_of(expression.left), value_of(expression.right)
        return ARITHMETIC[type(expression.op)](_path_or(left, expression.op), right)
    if isinstance(expression, ast.Call) and len(expression.args) >= 1 and not expression.keywords:
        called = {"Path": Path, "pathlib.Path": Path, "int": int, "float": float, "str": str, "os.path.join": Path}
        value = called[ast.unparse(expression.func)](*map(value_of, expression.args))
        return str(value) if isinstance(value, Path) else value
    raise TypeError(ast.unparse(expression))


def _path_or(value, operation):
    """A Path was read as its text; to the left of / it is one again."""
    return _Joined(value) if isinstance(value, str) and isinstance(operation, ast.Div) else value


class _Joined(str):
    def __truediv__(self, other):
        return str(Path(self) / other)


def meant(value, kind):
    """A value as its constant's kind: 3.0 and "3" are 3, None and False are an empty text, a list is a comma list.

    Raises:
        TypeError, ValueError: it cannot be meant so.
    """
    if kind is str:
        if isinstance(value, list):
            return ",".join(meant(part, str) for part in value)
        if value is None or value is False:
            return ""
        if value is True:
            raise TypeError
        return str(value)
    if isinstance(value, list) and len(value) == 1:     # a comma behind it
        value = value[0]
    if kind is bool:
        return {"True": True, "true": True, "1": True, "False": False, "false": False, "0": False, "None": False}[
            str(value)]
    if isinstance(value, str):
        value = _number(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError
    if kind is int and value != int(value):
        raise ValueError
    return kind(value)


def _number(text):
    try:
        return int(text)
    except ValueError:
        return float(text)


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
    kind = constant.kind
    try:
        if kind is bool:
            return {"True": True, "true": True, "False": False, "false": False}[text]
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError
        return value
    except (KeyError, ValueError):
        raise ConstantError(f"--{constant.name}={text}: {constant.name} is {SAID[kind]}, "
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
