"""The weights that the script loads into its models."""

from dataclasses import dataclass

from diagnosis.observe.guard import quietly
from diagnosis.record import source as sources


@dataclass
class Loading:
    """One call of from_pretrained or load_state_dict."""
    source: str                         # what was loaded: a name or folder; 'load_state_dict'
    model: object
    missing: set                        # names of the model's weights that it did not hold
    site: object
    held: set = None                    # ids of the parameters that it did hold
    loops: tuple = ()                   # (file, line) of the loops around the call


class Checkpoints:

    def __init__(self, guard):
        self.guard = guard
        self.loadings = []

    @quietly
    def loaded(self, source, model, missing, site):
        prefix = getattr(model, "base_model_prefix", "") + "."
        held = {id(each) for name, each in model.named_parameters()
                if not {name, name.removeprefix(prefix), prefix + name} & missing}
        self.loadings.append(Loading(str(source), model, missing, site, held, loops_now()))

    def held(self):
        """ids of the parameters that any checkpoint held; None where none was loaded."""
        return set().union(*(loading.held for loading in self.loadings)) if self.loadings else None

    def origin_of(self, encoder):
        """(what its weights were loaded from or None, where, weights that no checkpoint held) of an encoder."""
        names = {id(each): name for name, each in encoder.named_parameters()}
        missing, loaded_from, made = set(names.values()), None, None
        for loading in self.loadings:
            held = {name: names[id(each)] for name, each in loading.model.named_parameters() if id(each) in names}
            prefix = getattr(loading.model, "base_model_prefix", "") + "."
            found = {inside for name, inside in held.items()
                     if not {name, name.removeprefix(prefix), prefix + name} & loading.missing}
            if found:
                missing -= found
                loaded_from, made = loading.source, loading.site
            elif held:
                made = made or loading.site
        return loaded_from, made, len(missing) if self.loadings else 0


def loops_now():
    """(file, line) of each loop that is running in the user's files, innermost frame first."""
    return tuple((loop.file, loop.line) for frame in sources.user_frames() for loop in sources.loops_around(frame))
