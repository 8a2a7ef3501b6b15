"""Libraries that the script may import later, or never."""

import importlib.abc
import importlib.util
import sys


def when_imported(name, look):
    """Call look(module) once a module was imported, before anybody else sees it; now, where it is there already."""
    if name in sys.modules:
        look(sys.modules[name])
    else:
        LateFinder(name, look)


class LateFinder(importlib.abc.MetaPathFinder):
    """Finds one module as it would be found without it, and looks at it after its import."""

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
