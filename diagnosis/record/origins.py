"""Where a value that acts in one line is set in another: followed through the script's source, nothing of it executed.

From the expression in the acting call by names, parameters and those who give them, attributes and keys, to a constant,
the default of an argparse option, a field of a class, an entry of a dict; where an argument of the script bears the
name, to that. What a line computes from several values is followed to the first of them that leads anywhere.
"""

import ast
import functools
import os

from diagnosis.record.record import Setting
from diagnosis.record.source import START, make_site, nodes, tree

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
FARTHEST = 12       # steps from the acting line

# What is followed: the names it goes by, in lower case, the likeliest first, and its position in the acting call.
VALUES = {
    "lr": (("lr", "learning_rate"), 1),
    "weight_decay": (("weight_decay", "decay"), None),
    "warmup": (("num_warmup_steps", "warmup_steps", "warmup_ratio", "warmup_proportion", "warmup"), 1),
    "max_norm": (("max_norm", "max_grad_norm", "grad_clip"), 1),
    "max_length": (("max_length", "max_len", "max_seq_length", "max_seq_len", "pad_size"), None),
    "batch_size": (("batch_size", "train_batch_size", "per_device_train_batch_size"), 1),
    "dropout": (("dropout", "hidden_dropout_prob", "dropout_prob", "dropout_rate", "p"), None),
    "epochs": (("epochs", "num_epochs", "num_train_epochs", "n_epochs", "max_epochs"), None),
    "class_weights": (("class_weights", "class_weight", "use_class_weights"), None),
    "model_name": (("model_name", "model_name_or_path", "pretrained_model_name_or_path", "bert_path", "bert_model",
                    "model_path", "pretrained_model", "checkpoint"), 0),
}


def settings(acting, files, arguments=()):
    """A Setting of each of VALUES that can be told.

    Args:
        acting: {name of VALUES: Site of the call in which it acts}.
        files: the script and the files beside it that it imports.
        arguments: that the script was started with.
    """
    found = []
    for value, (names, position) in VALUES.items():
        site = acting.get(value)
        line = (os.path.join(START, site.file), site.line) if site and not site.cell else None
        place = origin(line, names, position, files, arguments)
        if isinstance(place, str):
            found.append(Setting(value, None, place, site))
        elif place is not None:
            found.append(Setting(value, make_site(*place), "", site))
    return found


def origin(acting, names, position, files, arguments):
    """(file, line) or an argument of the script, as text; None where it is set where it acts, or cannot be followed.

    Args:
        acting: (file, line) of the call in which the value acts; None: it is looked for by its names alone.
        names: what it is called as a keyword, a key or an option, in lower case, the likeliest first.
        position: of the value among the call's arguments; None: never given by position.
        files: the script and the files beside it that it imports.
        arguments: that the script was started with.
    """
    seek = Seek(files, arguments)
    if acting is not None:
        for expression in acting_expressions(*acting, names, position):
            found = seek.follow(expression, acting[0], FARTHEST)
            if found:
                return found
            if isinstance(expression, ast.Constant):
                return None
    return next(filter(None, (seek.named(name, FARTHEST, but=acting) for name in names)), None)


def acting_expressions(file, line, names, position):
    """The expressions of the value in the calls that stand on a line, else in the function around it."""
    parsed = tree(file) or ast.Module([], [])
    calls = [node for node in nodes(parsed) if isinstance(node, ast.Call) and node.lineno <= line <= node.end_lineno]
    around = function_around(parsed, line)
    for scope in [*sorted(calls, key=lambda call: call.end_lineno - call.lineno), *([around] if around else [])]:
        found = [keyword.value for node in nodes(scope) if isinstance(node, ast.Call) for keyword in node.keywords
                 if keyword.arg and keyword.arg.lower() in names]
        found += [value for _, key, value in keyed(scope) if key.lower() in names]
        if not found and position is not None and isinstance(scope, ast.Call) and len(scope.args) > position:
            found = [scope.args[position]]
        if found:
            return found
    return []


class Seek:
    """The files and arguments in which a value is looked for."""

    def __init__(self, files, arguments):
        self.files, self.arguments = files, arguments

    def follow(self, node, file, left):
        """Where an expression gets its value, or None: it is a literal, or leads nowhere."""
        if left == 0 or isinstance(node, (ast.Constant, ast.Lambda)):
            return None
        if isinstance(node, ast.Name):
            return self.name(node, file, left - 1)
        if isinstance(node, ast.Attribute):
            return self.named(node.attr, left - 1, first=self.kind_of(node.value, file))
        key = key_asked(node)
        if key:
            return self.named(key, left - 1, first=keyed)
        parts = node.args + [keyword.value for keyword in node.keywords] if isinstance(node, ast.Call) \
            else ast.iter_child_nodes(node)
        return next(filter(None, (self.follow(part, file, left - 1) for part in parts)), None)

    def reached(self, node, file, left):
        """The same for a value that is set by this expression: its own line where it leads nowhere else."""
        return self.follow(node, file, left) or (file, node.lineno)

    def name(self, node, file, left):
        """A name: assigned in its function, given to it, or a constant of the module."""
        parsed = tree(file)
        around = function_around(parsed, node.lineno)
        if around is not None:
            before = [value for name, value in assigned(around) if name == node.id and value.lineno <= node.lineno
                      and value is not node]
            if before:
                return self.reached(max(before, key=lambda value: value.lineno), file, left)
            if node.id in parameters(around):
                return self.given(around, node.id, file, left)
        return self.constant(node.id, file, left)

    def constant(self, name, file, left):
        """A name at the top of a module, or one that it imports from another of the files."""
        argument = self.argument(name)
        if argument:
            return argument
        for statement in (tree(file) or ast.Module([], [])).body:
            if isinstance(statement, ast.ImportFrom) \
                    and name in {alias.asname or alias.name for alias in statement.names}:
                module = (statement.module or "").rpartition(".")[2] + ".py"
                other = next((each for each in self.files if os.path.basename(each) == module and each != file), None)
                return other and self.constant(name, other, left - 1)
        values = [value for target, value in assigned(tree(file) or ast.Module([], [])) if target == name]
        return self.reached(values[-1], file, left) if values else None

    def given(self, function, name, file, left):
        """A parameter: what the function's calls give for it, else its default."""
        places = [each for each in parameters(function) if each not in ("self", "cls")]
        for other in self.files:
            for call in calls_in(other):
                if ast.unparse(call.func).rpartition(".")[2] != called_by(function, file):
                    continue
                value = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
                if value is None and places.index(name) < len(call.args):
                    value = call.args[places.index(name)]
                if value is not None:
                    return self.reached(value, other, left)
        value = parameters(function)[name]
        return self.reached(value, file, left) if value is not None else None

    def named(self, name, left, but=None, first=None):
        """An attribute, a key or an option of that name, wherever it gets its value; not on the line `but`.

        first: the one of the functions below whose kind of setting it most likely is.
        """
        argument = self.argument(name)
        if argument or left <= 0:
            return argument
        kinds = (options, fields, constants, attributes, keyed, keywords)
        for named in sorted(kinds, key=lambda kind: kind is not first):
            for file in self.files:
                for line, found, value in named_in(file, named):
                    if found.lower() == name.lower() and (file, line) != but:
                        return self.follow(value, file, left - 1) or (file, line) if value is not None else (file, line)
        return None

    def kind_of(self, owner, file):
        """What sets an attribute of this object first of all: its own class, the fields of a configuration, options."""
        if not isinstance(owner, ast.Name) or owner.id == "self":
            return attributes
        classes = {node.name for each in self.files for node in nodes(tree(each))
                   if isinstance(node, ast.ClassDef)}
        around = function_around(tree(file), owner.lineno)
        made = {ast.unparse(value.func).rpartition(".")[2] for scope in (around, tree(file)) if scope is not None
                for name, value in assigned(scope) if name == owner.id and isinstance(value, ast.Call)}
        return fields if classes & ({owner.id} | made) else options

    def argument(self, name):
        """--name=value, or --name value, among the script's arguments."""
        for place, argument in enumerate(self.arguments):
            option, equals, _ = argument.partition("=")
            if option.startswith("-") and option.lstrip("-").replace("-", "_").lower() == name.lower():
                following = self.arguments[place + 1:place + 2]
                return argument if equals or not following else f"{argument} {following[0]}"
        return None


@functools.lru_cache(maxsize=1024)
def named_in(file, named):
    """What one of the functions at the end of this module yields of a file."""
    return list(named(tree(file) or ast.Module([], [])))


@functools.lru_cache(maxsize=256)
def calls_in(file):
    return [node for node in nodes(tree(file)) if isinstance(node, ast.Call)]


def called_by(function, file):
    """The name by which a function is called: for __init__ that of its class."""
    if function.name != "__init__":
        return function.name
    owners = (node for node in nodes(tree(file)) if isinstance(node, ast.ClassDef) and function in node.body)
    return next((owner.name for owner in owners), "")


def function_around(parsed, line):
    functions = [node for node in nodes(parsed) if isinstance(node, FUNCTIONS)
                 and node.lineno <= line <= node.end_lineno]
    return max(functions, key=lambda node: node.lineno, default=None)


def parameters(function):
    """{name: its default or None}, in their order."""
    given, by_name = function.args.posonlyargs + function.args.args, function.args.kwonlyargs
    defaults = [None] * (len(given) - len(function.args.defaults)) + function.args.defaults + function.args.kw_defaults
    return {argument.arg: default for argument, default in zip(given + by_name, defaults)}


def assigned(scope):
    """(name, value) of the assignments in a function, or of a module's own statements."""
    found = nodes(scope) if isinstance(scope, FUNCTIONS) else scope.body
    for node in found:
        targets = node.targets if isinstance(node, ast.Assign) else \
            [node.target] if isinstance(node, ast.AnnAssign) else []
        for target in targets:
            if isinstance(target, ast.Name) and node.value is not None:
                yield target.id, node.value


def key_asked(node):
    """The key of x["key"] and x.get("key"), and the attribute of getattr(x, "key"); None for anything else."""
    asked = node.slice if isinstance(node, ast.Subscript) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
        asked = node.args[0]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) > 1:
        asked = node.args[1]
    return asked.value if isinstance(asked, ast.Constant) and isinstance(asked.value, str) else None


# Who gives names to values; each yields (line, name, value), the value None where the line itself is the answer.

def options(parsed):
    """argparse: parser.add_argument("--name", default=...)."""
    for call in nodes(parsed):
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith((".add_argument", ".option")):
            told = {keyword.arg: keyword.value for keyword in call.keywords}
            names = [argument.value for argument in call.args
                     if isinstance(argument, ast.Constant) and isinstance(argument.value, str)]
            names += [told["dest"].value] if isinstance(told.get("dest"), ast.Constant) else []
            for name in names if call.args else ():
                yield call.args[0].lineno, name.lstrip("-").replace("-", "_"), told.get("default")


def fields(parsed):
    """class Config: name = ..."""
    for owner in nodes(parsed):
        if isinstance(owner, ast.ClassDef):
            yield from ((value.lineno, name, value) for name, value in assigned(owner))


def constants(parsed):
    yield from ((value.lineno, name, value) for name, value in assigned(parsed))


def attributes(parsed):
    """anything.name = ..."""
    for node in nodes(parsed):
        if isinstance(node, ast.Assign):
            yield from ((node.lineno, target.attr, node.value) for target in node.targets
                        if isinstance(target, ast.Attribute))


def keyed(parsed):
    """{"name": ...} and anything["name"] = ..."""
    for node in nodes(parsed):
        if isinstance(node, ast.Dict):
            yield from ((value.lineno, key.value, value) for key, value in zip(node.keys, node.values)
                        if isinstance(key, ast.Constant) and isinstance(key.value, str))
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant) \
                        and isinstance(target.slice.value, str):
                    yield node.lineno, target.slice.value, node.value


def keywords(parsed):
    """anything(name=...)"""
    for call in nodes(parsed):
        if isinstance(call, ast.Call):
            yield from ((keyword.value.lineno, keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg)
