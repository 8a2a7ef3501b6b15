"""Predictions held against labels: metrics of sklearn and torchmetrics, `==` on tensors and, in the script, on arrays."""

import ast
import builtins
import functools
import inspect
import sys

import torch

from diagnosis.record import source

METRICS = ("accuracy_score", "balanced_accuracy_score", "f1_score", "fbeta_score", "precision_score", "recall_score",
           "precision_recall_fscore_support", "classification_report", "confusion_matrix", "matthews_corrcoef",
           "cohen_kappa_score")
EQUAL = "__equal_as_observed__"     # the name of watched_equal among the builtins
ARGMAX = "__argmax_as_observed__"   # and of watched_argmax


def watch_metrics(observer, module):
    """sklearn.metrics, whose functions `evaluate` calls too."""
    for name in METRICS:
        if hasattr(module, name):
            setattr(module, name, watched_metric(observer, name, getattr(module, name)))


def watched_metric(observer, name, original):
    signature = inspect.signature(original)

    @functools.wraps(original)
    def watched(*args, **kwargs):
        if not observer.guard.looks_away():
            try:
                given = list(signature.bind(*args, **kwargs).arguments.values())[:2]
            except TypeError:
                given = []
            if len(given) == 2:
                observer.evaluation.compares(name, *given, roles=True)
        return original(*args, **kwargs)
    return watched


def watch_torchmetrics(observer, module):
    kind = module.Metric
    wrap = kind._wrap_update

    @functools.wraps(wrap)
    def wrap_update(metric, update):
        @functools.wraps(update)
        def watched(*args, **kwargs):
            given = [*args, *kwargs.values()] if not kwargs else [kwargs.get("preds", args[0] if args else None),
                                                                  kwargs.get("target", args[-1] if args else None)]
            if len(given) >= 2 and not observer.guard.looks_away():
                predictions = given[0].argmax(1) if getattr(given[0], "ndim", 0) == 2 else given[0]
                observer.evaluation.compares(type(metric).__name__, given[1], predictions, roles=True)
            return update(*args, **kwargs)
        return wrap(metric, watched)

    kind._wrap_update = wrap_update


def watch_equality(observer):
    """Tensors, wherever a line of the user's compares them; in the script itself, watched_equal sees these first."""
    for owner, name in ((torch.Tensor, "__eq__"), (torch.Tensor, "eq"), (torch, "eq")):
        setattr(owner, name, watched_tensors(observer, getattr(owner, name)))
    setattr(builtins, EQUAL, functools.partial(watched_equal, observer))
    setattr(builtins, ARGMAX, functools.partial(watched_argmax, observer))


def watched_tensors(observer, original):
    @functools.wraps(original)
    def equal(first, second, *args, **kwargs):
        if torch.compiler.is_compiling():
            return original(first, second, *args, **kwargs)
        if (isinstance(second, torch.Tensor) and second.dim() and not observer.passes.inside_module
                and not observer.guard.looks_away() and source.is_users(sys._getframe(1).f_code.co_filename)):
            observer.evaluation.compares("==", first, second, roles=False)
        return original(first, second, *args, **kwargs)
    return equal


def watched_equal(observer, first, second):
    """first == second in the script's own source: arrays and tables have no `==` that could be replaced."""
    if torch.compiler.is_compiling():
        return first == second
    if getattr(first, "ndim", 0) and getattr(second, "ndim", 0) and not observer.passes.inside_module:
        observer.evaluation.compares("==", first, second, roles=False)
    return first == second


def watched_argmax(observer, value):
    """What the script takes argmax of: over a single column it is always 0."""
    if not torch.compiler.is_compiling() and getattr(value, "ndim", 0) == 2 and value.shape[1] == 1 < value.shape[0]:
        observer.evaluation.argmax_of_one_column()
    return value


class Watching(ast.NodeTransformer):
    """Every `a == b` of a source through watched_equal, what argmax is taken of through watched_argmax, in their places."""

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "argmax":
            seen = [node.func.value, *node.args[:1]]
            calls = [ast.copy_location(ast.Call(ast.Name(ARGMAX, ast.Load()), [value], []), value) for value in seen
                     if not isinstance(value, ast.Starred)]
            node.func.value, node.args[:len(calls) - 1] = calls[0], calls[1:]
        return ast.fix_missing_locations(node)

    def visit_Compare(self, node):
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq) or plain(node.left) or plain(node.comparators[0]):
            return node
        call = ast.Call(ast.Name(EQUAL, ast.Load()), [node.left, node.comparators[0]], [])
        return ast.fix_missing_locations(ast.copy_location(call, node))


def plain(node):
    """A constant, which is no column of labels."""
    return isinstance(node, (ast.Constant, ast.List, ast.Tuple, ast.Dict))


def compiled(text, file):
    """The code of a script whose comparisons are seen."""
    return compile(Watching().visit(ast.parse(text, file)), file, "exec")
