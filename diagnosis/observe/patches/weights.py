"""What is frozen, and the weights that are loaded into a model."""

import functools
import sys

import torch
from torch import nn

from diagnosis.record import source

PASS_FREEZING = ("nn/modules/module.py",)       # library files through which a script freezes


def watch_freezing(observer):
    """requires_grad as a property of Parameter in Python, so that the line that sets it to False is seen."""
    plain = torch.Tensor.requires_grad

    def set_to(parameter, value):
        plain.__set__(parameter, value)
        if not value:
            freezing(observer, parameter, sys._getframe(1))

    nn.Parameter.requires_grad = property(plain.__get__, set_to)
    method = torch.Tensor.requires_grad_

    def requires_grad_(parameter, requires_grad=True):
        result = method(parameter, requires_grad)
        if not requires_grad:
            freezing(observer, parameter, sys._getframe(1))
        return result

    nn.Parameter.requires_grad_ = requires_grad_


def freezing(observer, parameter, frame):
    """Only what the script does itself, directly or through a library's function for freezing."""
    at = frame
    while at is not None and not source.is_users(at.f_code.co_filename):
        if not at.f_code.co_filename.endswith(PASS_FREEZING) and "freeze" not in at.f_code.co_name:
            return
        at = at.f_back
    observer.freezes.froze(parameter, frame)


def watch_state_dicts(observer):
    original = nn.Module.load_state_dict

    @functools.wraps(original)
    def load_state_dict(module, *args, **kwargs):
        result = original(module, *args, **kwargs)
        if source.is_users(sys._getframe(1).f_code.co_filename):
            missing = set(getattr(result, "missing_keys", ()))
            observer.checkpoints.loaded("load_state_dict", module, missing, source.site())
        return result

    nn.Module.load_state_dict = load_state_dict


def watch_checkpoints(observer, module):
    kind = module.PreTrainedModel
    original = kind.from_pretrained.__func__

    @functools.wraps(original)
    def from_pretrained(cls, name=None, *args, **kwargs):
        asked = kwargs.pop("output_loading_info", False)
        model, info = original(cls, name, *args, output_loading_info=True, **kwargs)
        observer.checkpoints.loaded(name, model, set(info.get("missing_keys", ())), source.site())
        return (model, info) if asked else model

    kind.from_pretrained = classmethod(from_pretrained)
