"""The constants of a run, as the arguments change them, held to their bounds.

Bounds that depend on the table, the encoder or the number of processes are held where these are known: prepare() and
below it in the training script.
"""

import math
from pathlib import Path
from types import SimpleNamespace

from training.constants import override, read_constants
from training.texts.augment import CHANGES


class SettingError(ValueError):
    """A constant whose value cannot be used; the message is one line for people."""


# What each constant is, whatever is written at the top of the script: DROPOUT = 0 is a number of the kind of 0.3.
NUMBERS = {     # name: (kind, lowest, highest)
    "VALIDATION_SHARE": (float, 0.01, 0.5), "TEST_SHARE": (float, 0, 0.5), "FOLDS": (int, 0, math.inf),
    "FOLD": (int, 0, math.inf), "MAX_TRAIN_ROWS": (int, 0, math.inf),
    "DROPOUT": (float, 0, 0.99), "MAX_LENGTH": (int, 3, math.inf),
    "BATCH_SIZE": (int, 1, math.inf), "POOL_BATCHES": (int, 1, math.inf),
    "GRADIENT_ACCUMULATION_STEPS": (int, 1, math.inf), "NUM_EPOCHS": (int, 1, math.inf),
    "LEARNING_RATE": (float, 0, 1), "WARMUP_RATIO": (float, 0, 1), "WEIGHT_DECAY": (float, 0, math.inf),
    "MAX_GRAD_NORM": (float, 0, math.inf), "EARLY_STOPPING_PATIENCE": (int, 0, math.inf), "SEED": (int, 0, 2**32 - 1),
    "LAYER_LR_DECAY": (float, 0, 1), "HEAD_LEARNING_RATE": (float, 0, 1), "LABEL_SMOOTHING": (float, 0, 0.99),
    "EMA_STEPS": (int, 0, math.inf), "AUGMENT_SHARE": (float, 0, 1), "ENSEMBLE": (int, 0, math.inf),
    "TRIALS_BUDGET": (float, 0, math.inf), "SAVE_EVERY": (int, 0, math.inf)}
FLAGS = ("CACHE_FROZEN_LAYERS", "CLASS_WEIGHTS", "ENABLE_FP16", "DETERMINISTIC", "RUN_TRIALS", "RESUME")
TEXTS = ("TRAIN_PATH", "VAL_PATH", "TEST_PATH", "CORRECTIONS_PATH", "TEXT_COLUMN", "SECOND_TEXT_COLUMN",
         "LABEL_COLUMN", "GROUP_COLUMN", "COLUMN_NAMES", "ENCODING", "QUOTING", "RECIPE", "MODEL_NAME",
         "FREEZE_STRATEGY", "POOLING", "HEAD", "AUGMENT", "SYNONYMS_PATH", "OUTPUT_DIR")
KINDS = {**{name: kind for name, (kind, _, _) in NUMBERS.items()}, **dict.fromkeys(FLAGS, bool),
         **dict.fromkeys(TEXTS, str)}
NONE_IS_ZERO = ("MAX_TRAIN_ROWS", "TEST_SHARE", "FOLDS", "FOLD", "DROPOUT", "WARMUP_RATIO", "WEIGHT_DECAY",
                "MAX_GRAD_NORM", "EARLY_STOPPING_PATIENCE", "HEAD_LEARNING_RATE", "LABEL_SMOOTHING", "EMA_STEPS",
                "AUGMENT_SHARE", "ENSEMBLE", "TRIALS_BUDGET", "SAVE_EVERY")
READ_PATHS = ("TRAIN_PATH", "VAL_PATH", "TEST_PATH", "CORRECTIONS_PATH", "SYNONYMS_PATH")
RECIPES = ("guide", "measured")


class Settings(SimpleNamespace):
    """The constants' values by name. by_name: which of them an argument gave; no constant, and none of vars()."""
    __slots__ = ("by_name",)


def read_settings(script, arguments, choices, measured=()):
    """The constants at the top of a script, as the arguments change them, checked.

    Args:
        choices: {name: the values that this constant can have}.
        measured: {name: value} of the constants that RECIPE=measured changes, where no argument names them.

    Raises:
        ConstantError, SettingError: an argument names no constant, or a value cannot be used.
    """
    constants = read_constants(script, KINDS, NONE_IS_ZERO)
    settings = Settings(**{constant.name: constant.value for constant in constants})
    lacking = [name for name in KINDS if not hasattr(settings, name)]
    if lacking:
        raise SettingError(f"{Path(script).name} has no constant {lacking[0]} before its first function any more")
    _find_beside_script(settings, Path(script).resolve().parent)
    given = override(constants, arguments)
    vars(settings).update(given)
    settings.by_name = frozenset(given)
    if settings.RECIPE == "measured":
        settings = with_recipe(settings, dict(measured))
    for name, known in choices.items():
        if not getattr(settings, name) and "" not in known and "none" in known:
            setattr(settings, name, "none")
        if getattr(settings, name) not in known:
            raise SettingError(f"{name} is {getattr(settings, name)!r}; it can be {', '.join(filter(None, known))}")
    hold_to_bounds(settings)
    if settings.TEST_PATH and settings.TEST_SHARE:
        raise SettingError("TEST_PATH names the test rows, and TEST_SHARE sets others aside; give one of them")
    if settings.FOLDS == 1 or settings.FOLD > settings.FOLDS:
        raise SettingError(f"FOLDS is {settings.FOLDS} and FOLD {settings.FOLD}; there are at least two folds, or 0, "
                           "and FOLD is the number of one of them, or 0 for all")
    if settings.FOLDS and (settings.TEST_PATH or settings.TEST_SHARE):
        raise SettingError("with FOLDS each fold's rows are the test rows of a run; leave TEST_PATH and TEST_SHARE out")
    if settings.MAX_TRAIN_ROWS == 1:
        raise SettingError("MAX_TRAIN_ROWS is 1; a model is trained on two rows at least (0: on all)")
    settings.AUGMENT = ",".join(way.strip() for way in settings.AUGMENT.split(",") if way.strip())
    unknown = [way for way in settings.AUGMENT.split(",") if way and way not in CHANGES]
    if unknown:
        raise SettingError(f"AUGMENT knows no {unknown[0]!r}; it can be {', '.join(CHANGES)}, or several of them")
    return settings


def fit_to_rows(settings, rows, large, recipe):
    """The settings for so many rows to train on: from `large` rows on RECIPE=measured has the values of this recipe too.

    Raises:
        SettingError: another constant does not go with one of them.
    """
    if settings.RECIPE == "measured" and rows >= large:
        settings = with_recipe(settings, recipe)
        hold_to_bounds(settings)
    return settings


def with_recipe(settings, recipe):
    """The settings with a recipe's values in place of those that no argument gave."""
    own = {name: value for name, value in recipe.items() if name not in settings.by_name}
    changed = Settings(**vars(settings) | own)
    changed.by_name = settings.by_name
    return changed


def hold_to_bounds(settings):
    for name, (_, low, high) in NUMBERS.items():
        value = getattr(settings, name)
        low = 2 if name == "BATCH_SIZE" and settings.HEAD == "batchnorm" else low
        high = settings.NUM_EPOCHS if name == "ENSEMBLE" else high
        if not low <= value <= high:
            limit = f"at least {low}" if value < low else f"at most {high}"
            hint = " (BatchNorm needs two rows; HEAD=linear does not)" if name == "BATCH_SIZE" and low == 2 else ""
            raise SettingError(f"{name} is {value}; it must be {limit}{hint}")


def _find_beside_script(settings, folder):
    """Let the paths at the top of the script that are not there be those in its own folder, where they are."""
    for name in READ_PATHS:
        path = Path(getattr(settings, name))
        if getattr(settings, name) and not path.is_absolute() and not path.exists() and (folder / path).exists():
            setattr(settings, name, str(folder / path))
