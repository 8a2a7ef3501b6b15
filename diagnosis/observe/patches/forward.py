"""Modules, losses and backward calls."""

import functools
import sys

import torch
from torch import nn

from diagnosis.record import source

LOSSES = ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "kl_div",
          "l1_loss", "smooth_l1_loss", "huber_loss", "multi_margin_loss", "multilabel_margin_loss", "soft_margin_loss",
          "multilabel_soft_margin_loss")


def watch_modules(observer):
    original, guard, passes = nn.Module.__call__, observer.guard, observer.passes

    def called(module, *args, **kwargs):
        if torch.compiler.is_compiling() or guard.quiet:
            return original(module, *args, **kwargs)
        if not passes.inside_module:
            now = passes.module_begins(module, args, kwargs)
            if now is None:
                return original(module, *args, **kwargs)
            passes.inside_module = True
            try:
                output = original(module, *args, **kwargs)
            finally:
                passes.inside_module = False
            passes.module_ends(now, output)
            return output
        if id(module) in observer.models.watched:
            passes.layer_begins(module, args, kwargs)
            output = original(module, *args, **kwargs)
            passes.layer_ends(module, output)
            return output
        return original(module, *args, **kwargs)

    nn.Module.__call__ = called


def watch_losses(observer):
    for name in LOSSES:
        original = getattr(nn.functional, name, None)
        if original is not None:
            setattr(nn.functional, name, watched_loss(observer, name, original))
    dropout = nn.functional.dropout

    @functools.wraps(dropout)
    def watched(input, p=0.5, training=True, inplace=False):
        frame = sys._getframe(1)
        if p and "torch" not in frame.f_code.co_filename:
            observer.layers.dropout_called(p, training, frame)
        return dropout(input, p, training, inplace)

    nn.functional.dropout = watched


def watched_loss(observer, name, original):
    @functools.wraps(original)
    def watched(*args, **kwargs):
        if observer.guard.quiet or torch.compiler.is_compiling():
            return original(*args, **kwargs)
        call = observer.losses.loss_begins(name, original, args, kwargs)
        result = original(*args, **kwargs)
        if call is not None:
            observer.losses.loss_ends(call, result)
        return result
    return watched


def watch_backward(observer):
    torch.Tensor.backward = watched_backward(observer, torch.Tensor.backward)
    torch.autograd.backward = watched_backward(observer, torch.autograd.backward)
    torch.autograd.grad = watched_grad(observer, torch.autograd.grad)


def watched_backward(observer, original):
    @functools.wraps(original)
    def backward(tensors, *args, **kwargs):
        if observer.guard.quiet:
            return original(tensors, *args, **kwargs)
        first = tensors[0] if isinstance(tensors, (list, tuple)) and tensors else tensors
        return observed_backward(observer, first, lambda: original(tensors, *args, **kwargs))
    return backward


def watched_grad(observer, original):
    """Counts as a backward call where the gradients of a model's parameters are asked for."""
    @functools.wraps(original)
    def grad(outputs, inputs, *args, **kwargs):
        if observer.guard.quiet:
            return original(outputs, inputs, *args, **kwargs)
        if not isinstance(inputs, (torch.Tensor, tuple, list)):
            inputs = list(inputs)
        first = inputs if isinstance(inputs, torch.Tensor) else (inputs[0] if inputs else None)
        if not isinstance(first, nn.Parameter):
            return original(outputs, inputs, *args, **kwargs)
        output = outputs if isinstance(outputs, torch.Tensor) else next(iter(outputs), None)
        return observed_backward(observer, output, lambda: original(outputs, inputs, *args, **kwargs))
    return grad


def observed_backward(observer, tensor, run):
    observer.backward_begins(tensor, source.site())
    try:
        result = run()
    except BaseException:
        observer.backward_failed()
        raise
    observer.backward_ends()
    return result
