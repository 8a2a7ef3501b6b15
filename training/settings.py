"""The constants of a run, as the arguments change them, held to their bounds.

Bounds that depend on the table, the encoder or the number of processes are held where these are known: prepare() and
below it in the training script.
"""

import math
from types import SimpleNamespace

from training.constants import override, read_constants
from training.texts.augment import CHANGES


class SettingError(ValueError):
    """A constant whose value cannot be used; the message is one line for people."""


def read_settings(script, arguments, choices):
    """The constants at the top of a script, as the arguments change them, checked.

    Args:
        choices: {name: the values that this constant can have}.

    Raises:
        ConstantError, SettingError: an argument names no constant, or a value cannot be used.
    """
    constants = read_constants(script)
    settings = SimpleNamespace(**{constant.name: constant.value for constant in constants}
                               | override(constants, arguments))
    for name, known in choices.items():
        if getattr(settings, name) not in known:
            raise SettingError(f"{name} is {getattr(settings, name)!r}; it can be {', '.join(known)}")
    for name, low, high in (
            ("BATCH_SIZE", 2 if settings.HEAD == "batchnorm" else 1, math.inf),
            ("GRADIENT_ACCUMULATION_STEPS", 1, math.inf),
            ("NUM_EPOCHS", 1, math.inf), ("MAX_LENGTH", 3, math.inf), ("MAX_TRAIN_ROWS", 0, math.inf),
            ("EARLY_STOPPING_PATIENCE", 0, math.inf), ("LEARNING_RATE", 0, 1), ("WARMUP_RATIO", 0, 1),
            ("DROPOUT", 0, 0.99),
            ("WEIGHT_DECAY", 0, math.inf), ("MAX_GRAD_NORM", 0, math.inf), ("SEED", 0, 2**32 - 1),
            ("VALIDATION_SHARE", 0.01, 0.5), ("POOL_BATCHES", 1, math.inf), ("SAVE_EVERY", 0, math.inf),
            ("LAYER_LR_DECAY", 0, 1), ("HEAD_LEARNING_RATE", 0, 1), ("LABEL_SMOOTHING", 0, 0.99),
            ("AUGMENT_SHARE", 0, 1), ("ENSEMBLE", 0, settings.NUM_EPOCHS)):
        value = getattr(settings, name)
        if not low <= value <= high:
            limit = f"at least {low}" if value < low else f"at most {high}"
            hint = " (BatchNorm needs two rows; HEAD=linear does not)" if name == "BATCH_SIZE" and low == 2 else ""
            raise SettingError(f"{name} is {value}; it must be {limit}{hint}")
    if settings.MAX_TRAIN_ROWS == 1:
        raise SettingError("MAX_TRAIN_ROWS is 1; a model is trained on two rows at least (0: on all)")
    settings.AUGMENT = ",".join(way.strip() for way in settings.AUGMENT.split(",") if way.strip())
    unknown = [way for way in settings.AUGMENT.split(",") if way and way not in CHANGES]
    if unknown:
        raise SettingError(f"AUGMENT knows no {unknown[0]!r}; it can be {', '.join(CHANGES)}, or several of them")
    return settings
