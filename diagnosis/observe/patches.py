"""Puts the observer's eyes into torch and transformers before the script imports them; each calls one of its methods.

What is replaced calls the original with the same arguments and gives back what it gave.
"""

import functools
import importlib.abc
import os
import sys
import tempfile

import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader

from diagnosis.record import source

LOSSES = ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "kl_div",
          "l1_loss", "smooth_l1_loss", "huber_loss", "multi_margin_loss", "multilabel_margin_loss", "soft_margin_loss",
          "multilabel_soft_margin_loss")
PASS_FREEZING = ("nn/modules/module.py",)       # library files through which a script freezes


def install(observer):
    watch_modules(observer)
    watch_losses(observer)
    watch_backward(observer)
    watch_optimizers(observer)
    watch_clipping(observer)
    watch_scaler(observer)
    watch_schedules(observer)
    watch_loaders(observer)
    watch_freezing(observer)
    watch_saving(observer)
    watch_state_dicts(observer)
    when_imported("transformers.tokenization_utils_base", lambda module: watch_tokenizers(observer, module))
    when_imported("transformers.modeling_utils", lambda module: watch_checkpoints(observer, module))
    when_imported("safetensors.torch", lambda module: watch_safetensors(observer, module))


def watch_modules(observer):
    original = nn.Module.__call__

    def called(module, *args, **kwargs):
        if torch.compiler.is_compiling() or observer.quiet:
            return original(module, *args, **kwargs)
        if observer.depth == 0:
            now = observer.module_begins(module, args, kwargs)
            if now is None:
                return original(module, *args, **kwargs)
            observer.depth = 1
            try:
                output = original(module, *args, **kwargs)
            finally:
                observer.depth = 0
            observer.module_ends(now, output)
            return output
        if id(module) in observer.watched:
            observer.watched_begins(module, args, kwargs)
            output = original(module, *args, **kwargs)
            observer.watched_ends(module, output)
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
            observer.dropout_called(p, training, frame)
        return dropout(input, p, training, inplace)

    nn.functional.dropout = watched


def watched_loss(observer, name, original):
    @functools.wraps(original)
    def watched(*args, **kwargs):
        if observer.quiet or torch.compiler.is_compiling():
            return original(*args, **kwargs)
        call = observer.loss_begins(name, original, args, kwargs)
        result = original(*args, **kwargs)
        if call is not None:
            observer.loss_ends(call, result)
        return result
    return watched


def watch_backward(observer):
    def replaced(original):
        @functools.wraps(original)
        def backward(tensors, *args, **kwargs):
            if observer.quiet:
                return original(tensors, *args, **kwargs)
            first = tensors[0] if isinstance(tensors, (list, tuple)) and tensors else tensors
            observer.backward_begins(first, source.site())
            try:
                result = original(tensors, *args, **kwargs)
            except BaseException:
                observer.backward_failed()
                raise
            observer.backward_ends()
            return result
        return backward

    torch.Tensor.backward = replaced(torch.Tensor.backward)
    torch.autograd.backward = replaced(torch.autograd.backward)
    gradient = torch.autograd.grad

    @functools.wraps(gradient)
    def grad(outputs, inputs, *args, **kwargs):
        """Counts as a backward call where the gradients of a model's parameters are asked for."""
        if observer.quiet:
            return gradient(outputs, inputs, *args, **kwargs)
        if not isinstance(inputs, (torch.Tensor, tuple, list)):
            inputs = list(inputs)
        first = inputs if isinstance(inputs, torch.Tensor) else (inputs[0] if inputs else None)
        if not isinstance(first, nn.Parameter):
            return gradient(outputs, inputs, *args, **kwargs)
        output = outputs if isinstance(outputs, torch.Tensor) else next(iter(outputs), None)
        observer.backward_begins(output, source.site())
        try:
            result = gradient(outputs, inputs, *args, **kwargs)
        except BaseException:
            observer.backward_failed()
            raise
        observer.backward_ends()
        return result

    torch.autograd.grad = grad


def watch_optimizers(observer):
    made = torch.optim.Optimizer.__init__

    @functools.wraps(made)
    def init(optimizer, *args, **kwargs):
        made(optimizer, *args, **kwargs)
        observer.optimizer_made(optimizer)

    torch.optim.Optimizer.__init__ = init

    def begins(optimizer, args, kwargs):
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        observer.step_begins(optimizer, closure is not None)

    def ends(optimizer, args, kwargs):
        observer.step_ends(optimizer)

    register_optimizer_step_pre_hook(begins)
    register_optimizer_step_post_hook(ends)
    for kind in (torch.optim.Optimizer, nn.Module):
        kind.zero_grad = before(kind.zero_grad, lambda *args: observer.zero_grad_called())


def before(original, look):
    """The same function that first shows its arguments to look."""
    @functools.wraps(original)
    def watched(*args, **kwargs):
        look(*args)
        return original(*args, **kwargs)
    return watched


def watch_clipping(observer):
    for name, kind, limit_name in (("clip_grad_norm_", "norm", "max_norm"),
                                   ("clip_grad_value_", "value", "clip_value")):
        original = getattr(nn.utils, name)
        watched = watched_clip(observer, original, kind, limit_name)
        setattr(nn.utils, name, watched)
        setattr(nn.utils.clip_grad, name, watched)


def watched_clip(observer, original, kind, limit_name):
    @functools.wraps(original)
    def watched(parameters, *args, **kwargs):
        norm = original(parameters, *args, **kwargs)
        limit = args[0] if args else kwargs.get(limit_name)
        observer.clipped(kind, limit, norm, source.site())
        return norm
    return watched


def watch_scaler(observer):
    kind = torch.amp.GradScaler
    scale, unscale, step = kind.scale, kind.unscale_, kind.step

    @functools.wraps(scale)
    def scaled(scaler, outputs):
        result = scale(scaler, outputs)
        observer.scaled(scaler, result)
        return result

    @functools.wraps(unscale)
    def unscaled(scaler, optimizer):
        observer.unscaled()
        return unscale(scaler, optimizer)

    @functools.wraps(step)
    def stepped(scaler, optimizer, *args, **kwargs):
        observer.scaler_step_begins(scaler)
        result = step(scaler, optimizer, *args, **kwargs)
        observer.scaler_step_ends(optimizer)
        return result

    kind.scale, kind.unscale_, kind.step = scaled, unscaled, stepped


def watch_schedules(observer):
    for kind in [one for one in vars(lr_scheduler).values()
                 if isinstance(one, type) and issubclass(one, lr_scheduler.LRScheduler)]:
        if "__init__" in vars(kind):
            kind.__init__ = watched_making(observer, kind.__init__, kind is lr_scheduler.LRScheduler)
        if "step" in vars(kind):
            kind.step = watched_schedule_step(observer, kind.step)


def watched_making(observer, original, is_base):
    """Steps taken while a schedule is made are not the script's; the base class is where subclasses show up."""
    @functools.wraps(original)
    def watched(scheduler, *args, **kwargs):
        outermost = observer.scheduler_depth == 0 and not observer.quiet
        observer.scheduler_depth += 1
        try:
            original(scheduler, *args, **kwargs)
        finally:
            observer.scheduler_depth -= 1
        if is_base or outermost:
            frames, frame = [], sys._getframe(1)
            while frame is not None and len(frames) < 12:
                frames.append(frame)
                frame = frame.f_back
            # the innermost constructor's own arguments lie in the frames above the base class only
            observer.schedule_made(scheduler, frames) if is_base else observer.schedule_made(scheduler, made_frames(
                original, scheduler, args, kwargs, frames))
    return watched


class made_frames(list):
    """The frames around a constructor that has already returned, led by a stand-in that holds its arguments."""

    def __init__(self, original, scheduler, args, kwargs, frames):
        import inspect
        from types import SimpleNamespace
        try:
            bound = inspect.signature(original).bind(scheduler, *args, **kwargs)
            bound.apply_defaults()
            names = dict(bound.arguments)
        except TypeError:
            names = {}
        code = SimpleNamespace(co_filename="<made>", co_name="__init__", co_varnames=tuple(names),
                               co_argcount=len(names), co_kwonlyargcount=0)
        super().__init__([SimpleNamespace(f_code=code, f_locals=names | {"self": scheduler}), *frames])


def watched_schedule_step(observer, original):
    @functools.wraps(original)
    def watched(scheduler, *args, **kwargs):
        if observer.scheduler_depth == 0 and not getattr(scheduler, "_is_initial", False):
            observer.schedule_steps(scheduler)
        observer.scheduler_depth += 1
        try:
            return original(scheduler, *args, **kwargs)
        finally:
            observer.scheduler_depth -= 1
    return watched


def watch_loaders(observer):
    made, iterated = DataLoader.__init__, DataLoader.__iter__

    @functools.wraps(made)
    def init(loader, *args, **kwargs):
        made(loader, *args, **kwargs)
        observer.loader_made(loader)

    @functools.wraps(iterated)
    def iterate(loader):
        inner = iterated(loader)
        watched = observer.loader_iterated(loader, inner)
        return inner if watched is None else watched

    DataLoader.__init__, DataLoader.__iter__ = init, iterate


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
    observer.froze(parameter, frame)


def watch_state_dicts(observer):
    original = nn.Module.load_state_dict

    @functools.wraps(original)
    def load_state_dict(module, *args, **kwargs):
        result = original(module, *args, **kwargs)
        if source.is_users(sys._getframe(1).f_code.co_filename):
            observer.loaded("load_state_dict", module, set(getattr(result, "missing_keys", ())), source.site())
        return result

    nn.Module.load_state_dict = load_state_dict


def watch_saving(observer):
    original = torch.save

    @functools.wraps(original)
    def save(obj, f, *args, **kwargs):
        if isinstance(f, (str, os.PathLike)):
            observer.checkpoint_written(os.fspath(f))
        return original(obj, f, *args, **kwargs)

    torch.save = save


def watch_safetensors(observer, module):
    original = module.save_file

    @functools.wraps(original)
    def save_file(tensors, filename, *args, **kwargs):
        observer.checkpoint_written(os.fspath(filename))
        return original(tensors, filename, *args, **kwargs)

    module.save_file = save_file


def watch_tokenizers(observer, module):
    kind = module.PreTrainedTokenizerBase
    for name in ("__call__", "encode"):
        if name in vars(kind):
            setattr(kind, name, watched_tokenizer(observer, vars(kind)[name]))


def watched_tokenizer(observer, original):
    @functools.wraps(original)
    def watched(tokenizer, *args, **kwargs):
        result = original(tokenizer, *args, **kwargs)
        observer.tokenized(tokenizer, args, kwargs, result)
        return result
    watched.original = original
    return watched


def watch_checkpoints(observer, module):
    kind = module.PreTrainedModel
    original = kind.from_pretrained.__func__

    @functools.wraps(original)
    def from_pretrained(cls, name=None, *args, **kwargs):
        asked = kwargs.pop("output_loading_info", False)
        model, info = original(cls, name, *args, output_loading_info=True, **kwargs)
        observer.loaded(name, model, set(info.get("missing_keys", ())), source.site())
        return (model, info) if asked else model

    kind.from_pretrained = classmethod(from_pretrained)
    saving = kind.save_pretrained

    @functools.wraps(saving)
    def save_pretrained(model, save_directory, *args, **kwargs):
        observer.checkpoint_written(os.fspath(save_directory))
        return saving(model, save_directory, *args, **kwargs)

    kind.save_pretrained = save_pretrained


def watch_files(observer):
    """From now on, any attempt to write a file ends the run: what a cut-short run writes must not replace anything."""
    here = [os.path.realpath(os.getcwd()), os.path.realpath(source.START),
            os.path.dirname(os.path.realpath(observer.script))]
    temporary = [os.path.realpath(tempfile.gettempdir()), "/dev", "/proc", "/sys"]

    def kept(path):
        """Is this file none of the run's results?"""
        if not isinstance(path, (str, bytes)):
            return True
        path = os.path.realpath(os.fsdecode(path))
        if path.endswith(".pyc") or "__pycache__" in path or ".pyc." in path:
            return True
        below = lambda folders: any(path == one or path.startswith(one + os.sep) for one in folders)
        return below(temporary) and not below(here)

    def audit(event, args):
        if observer.quiet or os.getpid() != observer.pid:
            return
        if event == "open":
            path, mode, flags = args
            writes = set(mode) & set("wax+") if isinstance(mode, str) else (flags or 0) & (os.O_WRONLY | os.O_RDWR)
            if writes and not kept(path):
                observer.finish("enough seen")
        elif event in ("os.rename", "os.mkdir", "os.remove") and not kept(args[1 if event == "os.rename" else 0]):
            observer.finish("enough seen")

    sys.addaudithook(audit)


class when_imported(importlib.abc.MetaPathFinder):
    """Call look(module) once a module was imported, before anybody else sees it."""

    def __init__(self, name, look):
        self.name, self.look, self.finding = name, look, False
        sys.meta_path.insert(0, self)

    def find_spec(self, name, path, target=None):
        if name != self.name or self.finding:
            return None
        self.finding = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.finding = False
        if spec is None or spec.loader is None:
            return None
        sys.meta_path.remove(self)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            try:
                self.look(module)
            except Exception:
                pass            # another release of the library: less is seen

        spec.loader.exec_module = exec_module
        return spec
