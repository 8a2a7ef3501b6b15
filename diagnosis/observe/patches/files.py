"""Checkpoints that are about to be written; any other write is seen by the audit hook of observe/files.py."""

import functools
import os

import torch


def watch_saving(observer):
    original = torch.save

    @functools.wraps(original)
    def save(obj, f, *args, **kwargs):
        if isinstance(f, (str, os.PathLike)):
            observer.files.checkpoint_written(os.fspath(f))
        return original(obj, f, *args, **kwargs)

    torch.save = save


def watch_safetensors(observer, module):
    original = module.save_file

    @functools.wraps(original)
    def save_file(tensors, filename, *args, **kwargs):
        observer.files.checkpoint_written(os.fspath(filename))
        return original(tensors, filename, *args, **kwargs)

    module.save_file = save_file


def watch_saving_of_models(observer, module):
    kind = module.PreTrainedModel
    saving = kind.save_pretrained

    @functools.wraps(saving)
    def save_pretrained(model, save_directory, *args, **kwargs):
        observer.files.checkpoint_written(os.fspath(save_directory))
        return saving(model, save_directory, *args, **kwargs)

    kind.save_pretrained = save_pretrained
