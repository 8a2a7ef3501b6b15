"""Libraries that the script may import later, or never."""

import importlib.abc
import importlib.util
import sys


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
