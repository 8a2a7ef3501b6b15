"""When a change acts: before a pass of the model, before and after backward, before and after an optimizer step.

Each takes an act and calls it at that moment; the observer, which would otherwise see what the act does, looks away.
"""

import functools

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook


def unseen(observer, act):
    """The same act, not observed; nothing is done while the observer itself is at work. Its errors are noted."""
    guard = observer.guard

    def acting(*args):
        if guard.looks_away():
            return None
        guard.quiet = True
        try:
            with torch.inference_mode(False):
                return guard.attempt(act, *args)
        finally:
            guard.quiet = False
    return acting


def before_pass(observer, act, training=True):
    """act(module) before an outermost module with parameters is called.

    training   only where gradients are asked for
    """
    original, act = nn.Module.__call__, unseen(observer, act)

    def called(module, *args, **kwargs):
        outermost = not observer.passes.inside_module and not torch.compiler.is_compiling()
        if outermost and (torch.is_grad_enabled() or not training) and any(True for _ in module.parameters()):
            act(module)
        return original(module, *args, **kwargs)

    nn.Module.__call__ = called


def around_backward(observer, before=None, after=None):
    """before(tensor) gives the tensor to run backward on instead, or None; after() when the outermost call is over."""
    depth = [0]

    def wrapped(original):
        @functools.wraps(original)
        def backward(tensors, *args, **kwargs):
            if observer.guard.looks_away() or depth[0]:
                return original(tensors, *args, **kwargs)
            single = tensors[0] if isinstance(tensors, (list, tuple)) and len(tensors) == 1 else tensors
            if before is not None and isinstance(single, torch.Tensor):
                instead = observer.guard.attempt(before, single)
                tensors = tensors if instead is None else instead
            depth[0] += 1
            try:
                result = original(tensors, *args, **kwargs)
            finally:
                depth[0] -= 1
            if after is not None:
                after()
            return result
        return backward

    torch.Tensor.backward = wrapped(torch.Tensor.backward)
    torch.autograd.backward = wrapped(torch.autograd.backward)


def before_step(observer, act):
    """act(optimizer)"""
    act = unseen(observer, act)
    register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: act(optimizer))


def after_step(observer, act):
    """act(optimizer)"""
    act = unseen(observer, act)
    register_optimizer_step_post_hook(lambda optimizer, args, kwargs: act(optimizer))


def trained(observer):
    """Every parameter of the models that are trained, once; the one that is at work before the first backward too."""
    roots = list(observer.models.trained.values()) or list(observer.models.roots.values())
    return list({id(each): each for root in roots for each in root.parameters()}.values())
