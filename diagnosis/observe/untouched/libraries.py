"""Libraries that open files by themselves, out of Python's sight: they are given the path that OldFiles says."""

import functools
import os
import sys

from diagnosis.observe.late import when_imported
from diagnosis.observe.untouched import system


def watch(old_files):
    for name, look in (("torch", watch_torch), ("safetensors", watch_safetensors), ("tokenizers", watch_tokenizers),
                       ("pyarrow", watch_arrow), ("pyarrow.parquet.core", watch_parquet),
                       ("sqlite3.dbapi2", system.watch_databases)):
        if name in sys.modules:
            look(old_files, sys.modules[name])
        else:
            when_imported(name, lambda module, look=look: look(old_files, module))


def writes(old_files, original, argument, name):
    """The same function, given another path where it would write over an old file. argument: the path's position."""
    return with_path(original, argument, name, lambda path: change(old_files, path))


def change(old_files, path):
    old_files.changing(path)
    return old_files.writable(path)


def reads(old_files, original, argument, name):
    return with_path(original, argument, name, old_files.readable)


def with_path(original, argument, name, place):
    @functools.wraps(original)
    def called(*args, **kwargs):
        args = list(args)
        if len(args) > argument and isinstance(args[argument], (str, os.PathLike)):
            args[argument] = place(args[argument])
        elif isinstance(kwargs.get(name), (str, os.PathLike)):
            kwargs[name] = place(kwargs[name])
        return original(*args, **kwargs)
    return called


def watch_torch(old_files, torch):
    for module in (torch, torch.serialization):
        module.save = writes(old_files, module.save, 1, "f")
        module.load = reads(old_files, module.load, 0, "f")
    torch.jit.save = writes(old_files, torch.jit.save, 1, "f")
    torch.jit.load = reads(old_files, torch.jit.load, 0, "f")
    kind = torch.jit.RecursiveScriptModule
    kind.save = writes(old_files, kind.save, 1, "f")


def watch_safetensors(old_files, module):
    """Their writing and reading modules take these two from here when they are imported."""
    written, opened = module.serialize_file, module.safe_open
    module.serialize_file = writes(old_files, written, 1, "filename")
    module.safe_open = reads(old_files, opened, 0, "filename")
    for name in ("safetensors.torch", "safetensors.numpy"):
        if name in sys.modules:
            sys.modules[name].serialize_file, sys.modules[name].safe_open = module.serialize_file, module.safe_open


def watch_arrow(old_files, module):
    """pandas and datasets open files by this class, which cannot be changed itself."""
    original = module.OSFile

    @functools.wraps(original)
    def opened(path, mode="r", *args, **kwargs):
        through = writes if set(mode) & set("wax+") else reads
        return through(old_files, original, 0, "path")(path, mode, *args, **kwargs)

    module.OSFile = opened


def watch_parquet(old_files, module):
    """Of pyarrow, given paths."""
    for kind, name, through in ((module.ParquetWriter, "where", writes), (module.ParquetFile, "source", reads),
                                (module.ParquetDataset, "path_or_paths", reads)):
        kind.__init__ = through(old_files, kind.__init__, 1, name)


def watch_tokenizers(old_files, module):
    kind = module.Tokenizer
    kind.save = writes(old_files, kind.save, 1, "path")
    kind.from_file = staticmethod(reads(old_files, kind.from_file, 0, "path"))
    for model in (module.models.BPE, module.models.Unigram, module.models.WordLevel, module.models.WordPiece):
        model.save = saves_vocabulary(old_files, model.save)


def saves_vocabulary(old_files, original):
    """A model's save(folder, prefix) writes files whose names it alone knows: made beside, then put in their places."""
    @functools.wraps(original)
    def save(model, folder, *args, **kwargs):
        beside = os.path.dirname(old_files.stand_in("vocabulary"))
        names = [os.path.basename(path) for path in original(model, beside, *args, **kwargs)]
        for name in names:
            os.replace(os.path.join(beside, name), os.path.join(folder, name))
        return [os.path.join(folder, name) for name in names]
    return save
