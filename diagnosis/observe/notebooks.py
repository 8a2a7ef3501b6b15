"""What a notebook's cells find where they are run without Jupyter: display, the shell's name, plain bars."""

import importlib.util
import sys
import types

from diagnosis.observe.late import when_imported


class Shell:
    """Stands for IPython's: magics and commands do nothing."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


def display(*objects, **options):
    """Prints, as a notebook without its page does."""
    print(*objects)


def names():
    """The names that IPython gives to every cell."""
    return {"display": display, "get_ipython": Shell}


def watch_imports():
    """`import IPython` and tqdm's widgets do without Jupyter."""
    if importlib.util.find_spec("IPython") is None:
        for name in ("IPython", "IPython.display", "IPython.core", "IPython.core.display"):
            module = sys.modules[name] = types.ModuleType(name)
            module.__path__ = []
            module.__getattr__ = stand_in
    when_imported("tqdm.notebook", plain_bars)


def stand_in(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return {"display": display, "get_ipython": Shell}.get(name, lambda *args, **kwargs: None)


def plain_bars(module):
    from tqdm import std
    module.tqdm = module.tqdm_notebook = std.tqdm
    module.trange = module.tnrange = std.trange
