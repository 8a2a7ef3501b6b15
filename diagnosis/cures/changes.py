"""The changes by name: what a Mend names is put in place here, in the script's process."""

from diagnosis.cures import to_steps, to_the_model

ROOMS = (to_steps, to_the_model)


def install(observer, changes):
    """changes: {name of a change: its value}; after the observer's patches, so that it sees the run as it is mended.

    Raises:
        KeyError: there is no change of that name.
    """
    for name, value in changes.items():
        change(name)(observer, value)


def change(name):
    """The function of that name: change(observer, value)."""
    for room in ROOMS:
        if name in vars(room):
            return vars(room)[name]
    raise KeyError(name)
