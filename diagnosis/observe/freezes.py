"""What a watched script freezes, and what looks as if it did."""

import weakref
from dataclasses import dataclass, field

from diagnosis.observe.guard import quietly
from diagnosis.record import source
from diagnosis.record.record import FreezeAct, place

MISSPELT = ("require_grad", "requires_gradient", "required_grad", "requires_grads", "require_grads", "requiresgrad",
            "requires_Grad", "need_grad", "needs_grad", "trainable", "requieres_grad", "requres_grad")


@dataclass
class Freeze:
    """One line that froze something, with weak references to what it froze."""
    site: object
    touched: dict = field(default_factory=dict)     # id -> weakref of the parameter


class Freezes:

    def __init__(self, guard):
        self.guard = guard
        self.by_line = {}               # place: Freeze

    @quietly
    def froze(self, parameter, frame):
        where = source.site(frame)
        if where is not None:
            freeze = self.by_line.setdefault(place(where), Freeze(where))
            freeze.touched[id(parameter)] = weakref.ref(parameter)

    def describe(self, before, script):
        """A FreezeAct of each line; before: the model BeforeTraining, or None."""
        tensors = {id(tensor): tensor for tensor in before.tensors} if before is not None else {}
        acts = []
        for freeze in self.by_line.values():
            alive = [key for key, held in freeze.touched.items() if key in tensors and held() is tensors[key]]
            acts.append(FreezeAct(freeze.site, "parameter", len(freeze.touched),
                                  sum(not before.trainable.get(key, True) for key in alive), len(alive)))
        return acts + (look_alikes(before.model, script, set(self.by_line)) if before is not None else [])


def look_alikes(model, script, known):
    """Lines that look as if they froze: an attribute set on a module, or one that no parameter has.

    known   places of those that did freeze
    """
    modules = [module for module in model.modules() if "requires_grad" in vars(module)]
    marked = {name for parameter in model.parameters() for name in getattr(parameter, "__dict__", {})}
    marked |= {name for module in model.modules() for name in vars(module)} & set(MISSPELT)
    misspelt = [name for name in marked if name in MISSPELT or ("grad" in name and name[0] != "_")]
    acts = []
    for file, line, name, value in source.assignments_of(source.users_files(script), {"requires_grad", *misspelt}):
        where = source.make_site(file, line)
        if place(where) in known or value not in (False, 0, None):
            continue
        if name == "requires_grad" and modules:
            held = {id(parameter): parameter for module in modules for parameter in module.parameters()}
            acts.append(act_without_effect(where, "module", held.values()))
        elif name in misspelt:
            held = [parameter for parameter in model.parameters() if name in getattr(parameter, "__dict__", {})]
            held = held or [parameter for module in model.modules() if name in vars(module)
                            for parameter in module.parameters()]
            acts.append(act_without_effect(where, "misspelt", held))
    return acts


def act_without_effect(where, kind, parameters):
    return FreezeAct(where, kind, len(parameters), sum(not each.requires_grad for each in parameters), len(parameters))
