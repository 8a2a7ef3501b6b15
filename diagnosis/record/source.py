"""What is read in the script's source and frames: lines, loops and their counts, calls; nothing of it is executed."""

import ast
import builtins
import functools
import inspect
import linecache
import math
import os
import sys
import sysconfig
from dataclasses import dataclass

from diagnosis.record.notebook import is_notebook, read
from diagnosis.record.record import Site

EVALUATES = os.sep + "evaluate_modules" + os.sep     # where the package evaluate keeps the code of its metrics
LIBRARIES = tuple(os.path.realpath(path) + os.sep for path in
                  {sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["platstdlib"],
                   os.path.dirname(os.path.dirname(os.path.abspath(__file__)))})
START = os.getcwd()     # of the whole process, before the script can change it
NOTEBOOKS = {}          # filename: the Notebook that is run
LOOPS = (ast.For, ast.AsyncFor, ast.While)
COMPREHENSIONS = {"<listcomp>": "ListComp", "<setcomp>": "SetComp", "<dictcomp>": "DictComp", "<genexpr>": "GeneratorExp"}
COUNTING = {"len": len, "int": int, "float": float, "min": min, "max": max, "round": round, "abs": abs,
            "ceil": math.ceil, "floor": math.floor, "math.ceil": math.ceil, "math.floor": math.floor}
PASSING_ON = ("enumerate", "tqdm", "iter", "list", "tuple", "sorted", "reversed", "track", "cycle", "progress_bar",
              "prefetch")     # functions that yield what they are given, once each
ARITHMETIC = {ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b,
              ast.Div: lambda a, b: a / b, ast.FloorDiv: lambda a, b: a // b, ast.Mod: lambda a, b: a % b,
              ast.Pow: lambda a, b: a ** b}


@functools.cache
def is_users(filename):
    """Is this a file of the examined script, and none of a library, of Python or of the diagnosis?"""
    if filename.startswith("<") or is_librarys(filename):    # the usual answer, without asking the disk
        return False
    return not is_librarys(os.path.realpath(filename))


def is_librarys(path):
    return "site-packages" in path or "dist-packages" in path or EVALUATES in path or path.startswith(LIBRARIES)


def user_frames(frame=None):
    """The frames of the user's files, innermost first."""
    frame, found = frame or sys._getframe(1), []
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            found.append(frame)
        frame = frame.f_back
    return found


def place(frame):
    """Every line on the stack, those of libraries too: the same for calls that a loop makes again and again."""
    found = []
    while frame is not None:
        found.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


def site(frame=None):
    """The innermost line of the user's files on the stack; None where there is none."""
    frame = frame or sys._getframe(1)
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return make_site(frame.f_code.co_filename, frame.f_lineno) if frame is not None else None


@functools.lru_cache(maxsize=4096)
def make_site(filename, line):
    """The Site of a line of a file, which for a notebook is the whole Notebook's source."""
    code = linecache.getline(filename, line).strip()
    if filename in NOTEBOOKS:
        cell, line_in_cell = NOTEBOOKS[filename].place(line)
        return Site(shown(filename), line_in_cell, code, cell, function_at(filename, line))
    return Site(shown(filename), line, code, function=function_at(filename, line))


def definition(function):
    """The Site of a function's `def` in the user's files, decorators and wrappers left aside; None where it has none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or not is_users(code.co_filename):
        return None
    lines = [node.lineno for node in nodes(tree(code.co_filename)) if isinstance(node, ast.FunctionDef)
             and node.name == code.co_name and node.lineno >= code.co_firstlineno]
    return make_site(code.co_filename, min(lines, default=code.co_firstlineno))


def function_at(filename, line):
    """The name of the innermost function around a line, '' where there is none."""
    found = [node for node in nodes(tree(filename)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
             and node.lineno <= line <= node.end_lineno]
    return max(found, key=lambda node: node.lineno).name if found else ""


def load(filename):
    """The text of the script; of a notebook that of its cells, whose lines are found by linecache from now on."""
    if not is_notebook(filename):
        with open(filename, "rb") as file:
            return file.read()
    notebook = NOTEBOOKS[filename] = read(filename)
    lines = notebook.source.splitlines(keepends=True)
    linecache.cache[filename] = (len(notebook.source), None, lines, filename)
    return notebook.source


@functools.cache
def shown(filename):
    """A file's name relative to the working directory where it lies below it."""
    path, here = os.path.realpath(filename), os.path.realpath(START) + os.sep
    return path[len(here):] if path.startswith(here) else path


@functools.lru_cache(maxsize=64)
def tree(filename):
    """The parsed file, or None."""
    try:
        return ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return None


@functools.lru_cache(maxsize=256)
def nodes(parsed):
    """All nodes of a parsed file, or of a part of one; none of None, a file that cannot be parsed."""
    return list(ast.walk(parsed)) if parsed else []


def users_files(script):
    """The script and the files beside it that it imported."""
    names = [os.path.abspath(script)]
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if isinstance(name, str) and name.endswith(".py") and is_users(name) and name not in names:
            names.append(name)
    return names


@dataclass(frozen=True)
class Loop:
    """One loop that was running, as its source says."""
    file: str
    line: int
    last_line: int
    kind: str               # 'loader' (a torch DataLoader), 'count', 'while' or 'unknown'
    count: int | None       # iterations that it means to make
    loader: object = None


def loops_around(frame):
    """The loops running in one frame at its present line, outermost first."""
    parsed = tree(frame.f_code.co_filename)
    if parsed is None:
        return []
    if frame.f_code.co_name in COMPREHENSIONS:
        return loops_of_comprehension(parsed, frame)
    scope = scope_of(parsed, frame.f_code)
    line = frame.f_lineno
    nodes = [node for node in walk_scope(scope) if isinstance(node, LOOPS)
             and node.body[0].lineno <= line <= max(statement.end_lineno for statement in node.body)]
    nodes.sort(key=lambda node: (node.lineno, -node.end_lineno))
    return [describe_loop(node, frame) for node in nodes]


def loops_of_comprehension(parsed, frame):
    """A comprehension runs in a frame of its own, and what it goes over was looked up in the frame around it."""
    for node in nodes(parsed):
        if type(node).__name__ == COMPREHENSIONS[frame.f_code.co_name] and node.lineno == frame.f_code.co_firstlineno:
            names = Names(frame.f_back.f_locals if frame.f_back else {}, frame.f_globals)
            place = (frame.f_code.co_filename, node.lineno, node.end_lineno)
            return [Loop(*place, *iterated(each.iter, names)) for each in node.generators]
    return []


def scope_of(parsed, code):
    """The function's node that a code object was compiled from; the module for the rest."""
    if code.co_name == "<module>":
        return parsed
    for node in nodes(parsed):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == code.co_name:
            first = min([node.lineno] + [decorator.lineno for decorator in node.decorator_list])
            if first == code.co_firstlineno:
                return node
    return parsed


def walk_scope(scope):
    """The nodes of a scope, without those of the functions and classes defined in it."""
    todo = list(ast.iter_child_nodes(scope))
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            todo.extend(ast.iter_child_nodes(node))


def describe_loop(node, frame):
    names = Names(frame.f_locals, frame.f_globals)
    place = (frame.f_code.co_filename, node.lineno, node.end_lineno)
    if isinstance(node, ast.While):
        return Loop(*place, "while", bound(node.test, names))
    kind, count, loader = iterated(node.iter, names)
    return Loop(*place, kind, count, loader)


def bound(test, names):
    """N of `while step < N`."""
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], (ast.Lt, ast.LtE)):
        value = value_of(test.comparators[0], names)
        return int(value) if isinstance(value, (int, float)) and value == value else None
    return None


def iterated(node, names):
    """(kind, count, loader) of what a `for` goes over."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).rpartition(".")[2]
        if name in ("range", "trange"):
            numbers = [value_of(argument, names) for argument in node.args]
            if numbers and all(isinstance(number, int) for number in numbers):
                return "count", len(range(*numbers)), None
            return "unknown", None, None
        if name == "islice" and len(node.args) >= 2:
            count = value_of(node.args[-1], names)
            kind, _, loader = iterated(node.args[0], names)
            return kind, count if isinstance(count, int) else None, loader
        if name == "zip":
            found = [iterated(argument, names) for argument in node.args]
            loaders = [each for each in found if each[0] == "loader"]
            counted = [each for each in found if each[1] is not None]
            return next(iter(loaders + counted), ("unknown", None, None))
        if name in PASSING_ON and node.args:
            return iterated(node.args[0], names)
    value = value_of(node, names)
    if is_loader(value):
        return "loader", length(value), value
    inner = getattr(value, "iterable", None)            # a tqdm bar that was made before
    if inner is not None and is_loader(inner):
        return "loader", length(inner), inner
    if isinstance(value, (list, tuple, range, dict, set, str)) or hasattr(value, "__len__"):
        return "count", length(value), None
    return "unknown", None, None


def is_loader(value):
    data = sys.modules.get("torch.utils.data")
    return data is not None and isinstance(value, data.DataLoader)


def length(value):
    try:
        return len(value)
    except Exception:
        return None


class Names:
    """Names as a frame sees them."""

    def __init__(self, local, everywhere):
        self.spaces = (local, everywhere, vars(builtins))

    def get(self, name):
        return next((space[name] for space in self.spaces if name in space), None)


def value_of(node, names):
    """The value of an expression of names, attributes, subscripts, numbers and arithmetic; None for any other."""
    try:
        return _value(node, names)
    except Exception:
        return None


def _value(node, names):
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_value(node.value, names), node.attr)
    if isinstance(node, ast.Subscript):
        return _value(node.value, names)[_value(node.slice, names)]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, names)
    if isinstance(node, ast.BinOp):
        return ARITHMETIC[type(node.op)](_value(node.left, names), _value(node.right, names))
    if isinstance(node, ast.Call) and ast.unparse(node.func) in COUNTING and not node.keywords:
        return COUNTING[ast.unparse(node.func)](*(_value(argument, names) for argument in node.args))
    return None


def calls_of(files, names, method):
    """Every (file, line) where `<name>.<method>(` is called, for a name or attribute among names."""
    found = []
    for file in files:
        for node in nodes(tree(file)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method:
                owner = node.func.value
                name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", None)
                if name in names:
                    found.append((file, node.lineno))
    return found


def places_of_calls(files, names):
    """Every (file, line) where a function of one of these bare names is called, in the names' order."""
    found = [(names.index(name), file, node.lineno) for file in files
             for node in nodes(tree(file)) if isinstance(node, ast.Call)
             and (name := ast.unparse(node.func).rpartition(".")[2]) in names]
    return [(file, line) for _, file, line in sorted(found)]


def names_called(files):
    """The bare names of all functions and methods called in some files, sorted."""
    return sorted({ast.unparse(node.func).rpartition(".")[2] for file in files
                   for node in nodes(tree(file)) if isinstance(node, ast.Call)})


def inside_loop(file, line, loop):
    """Does a line stand in a loop, itself or through a function that is called from the loop?"""
    if file == loop.file and loop.line <= line <= loop.last_line:
        return True
    parsed, looping = tree(file), tree(loop.file)
    if parsed is None or looping is None:
        return None
    functions = [node for node in nodes(parsed) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
                 and node.lineno <= line <= node.end_lineno]
    if not functions:
        return False
    innermost = max(functions, key=lambda node: node.lineno)
    called = {ast.unparse(node.func).rpartition(".")[2] for node in nodes(looping)
              if isinstance(node, ast.Call) and loop.line < node.lineno <= loop.last_line}
    return innermost.name in called


def assignments_of(files, attributes):
    """Every (file, line, attribute, value) of `<anything>.<attribute> = <constant>` in the user's files."""
    found = []
    for file in files:
        for node in nodes(tree(file)):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Attribute) and target.attr in attributes:
                        value = node.value.value if isinstance(node.value, ast.Constant) else None
                        found.append((file, node.lineno, target.attr, value))
    return found


def items_set(files, key):
    """Every (file, line) of `<anything>["key"] = ...`, or `*= ...`, in the user's files."""
    return [(file, node.lineno) for file in files for node in nodes(tree(file))
            if isinstance(node, (ast.Assign, ast.AugAssign))
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant)
            and target.slice.value == key]


def names_of(value, namespaces):
    """The names that hold this very object in some namespaces (also as an attribute of an object there)."""
    found = set()
    for space in namespaces:
        for name, held in list(space.items()):
            if held is value:
                found.add(name)
            elif hasattr(held, "__dict__") and not isinstance(held, type(sys)):
                found.update(inner for inner, attribute in list(vars(held).items()) if attribute is value)
    return found
