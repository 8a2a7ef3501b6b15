"""The rows of a run: read, split, held against what needs no encoder, and made into batches."""

import contextlib
from dataclasses import dataclass

import numpy
import torch
from torch.utils.data import DataLoader

from training.encoder.end_to_end import end_to_end
from training.run.baseline import Baseline, measure_baselines
from training.run.screen import say, say_alike_labels, say_classes, say_rows, say_split
from training.run.team import ALONE
from training.run.testing import RowsToTest
from training.texts.augment import augmented, read_synonyms
from training.texts.batches import LikeLengthBatches, encode, padded
from training.texts.corrections import correct_labels
from training.texts.refusal import TableError
from training.texts.splitting import Overlap, fold_of, overlap, sample_rows, split_table
from training.texts.tables import Table, class_names, class_numbers, read_table

IDLE_ROWS = 2_000       # that validate where MAX_TRAIN_ROWS leaves rows idle: an accuracy is then known to ± 0.022


@dataclass
class Data:
    """The rows that are learned from and those that are scored, and what a score on them is worth."""
    training: Table                 # without its texts once they are tokenized, unless AUGMENT changes them
    validation: Table
    names: list[str]                # of the classes
    training_labels: numpy.ndarray  # class numbers, as are the next
    labels: numpy.ndarray           # of the validation rows
    overlap: Overlap
    warning: str                    # for every score: training and validation overlap, errors of the look; else ""
    baseline: Baseline
    dropped: dict                   # reason -> rows of the training file
    synonyms: dict                  # for AUGMENT
    test: RowsToTest | None         # where rows were set aside, or given, to score the finished model on
    loaders: list = ()              # of training, of validation; once there is a tokenizer

    def tables(self):
        """(rows, their labels) of training, validation and, where there are such, test."""
        tables = [(self.training, self.training_labels), (self.validation, self.labels)]
        return tables if self.test is None else [*tables, (self.test.table, self.test.labels)]

    def validation_lengths(self):
        """Tokens of each validation text."""
        return self.loaders[1].dataset.lengths()


def prepare_data(settings):
    """The rows, split and held against their baselines."""
    training, validation, whole, test = read_tables(settings)
    names = class_names(whole.labels)
    tables = [validation] if test is None else [validation, test]
    training_labels, *labels = (class_numbers(table, names) for table in (training, *tables))
    baselines = measure_baselines(training, tables, names, training_labels, labels, settings.SEED)
    shared = overlap(whole if settings.VAL_PATH else training, validation)
    data = Data(training, validation, names, training_labels, labels[0], shared, shared.warning, baselines[0],
                dict(whole.dropped), read_synonyms(settings.SYNONYMS_PATH) if "synonyms" in settings.AUGMENT else {},
                None if test is None else RowsToTest(
                    test, labels[1], overlap(whole if settings.TEST_PATH else training, test), baselines[1]))
    say_split(data, settings, whole)
    say_classes(data)
    return data


def read_tables(settings):
    """(training rows, validation rows, rows of the whole training file, test rows or None)."""
    whole = _read(settings, "TRAIN_PATH")
    validation = _read(settings, "VAL_PATH") if settings.VAL_PATH else None
    test = _read(settings, "TEST_PATH") if settings.TEST_PATH else None
    if settings.CORRECTIONS_PATH:
        with _naming("CORRECTIONS_PATH"):
            changed = correct_labels(validation or whole, settings.CORRECTIONS_PATH)
        say("corrected", f"{changed:,} labels, by {settings.CORRECTIONS_PATH}")
    if len(set(whole.labels)) < 2:
        dropped = f" ({whole.account()})" if whole.dropped else ""
        raise TableError(f"{whole.path}: every label is {whole.labels[0]!r}; there is nothing to tell apart{dropped}")
    say_alike_labels(whole)
    for table in filter(None, (validation, test)):
        class_numbers(table, class_names(whole.labels))     # a class that training lacks is refused at once
    rest = whole
    if settings.TEST_SHARE:
        rest, test = split_table(whole, settings.TEST_SHARE, settings.SEED, "for testing; add rows, or give TEST_PATH")
    if settings.FOLD:
        rest, test = fold_of(whole, settings.FOLDS, settings.FOLD, settings.SEED)
    if validation:
        return sample_rows(rest, settings.MAX_TRAIN_ROWS, settings.SEED), validation, whole, test
    training, validation = _split(rest, settings)
    if len(training) < 2:
        raise TableError(f"{whole.path}: one row is left to train on; give more rows")
    return training, validation, whole, test


def _split(whole, settings):
    """(training, validation); where MAX_TRAIN_ROWS leaves rows idle, up to IDLE_ROWS of them validate."""
    most, seed = settings.MAX_TRAIN_ROWS, settings.SEED
    training, validation = split_table(whole, settings.VALIDATION_SHARE, seed)
    if not 0 < most < len(training):
        return training, validation
    rows = max(round(most / len(training) * len(validation)), min(len(whole) - most, IDLE_ROWS))
    if rows > len(validation):
        wider = split_table(whole, min(rows / len(whole), 0.5), seed)
        if len(wider[0]) >= most:       # whole groups may leave fewer
            training, validation = wider
    return sample_rows(training, most, seed), sample_rows(validation, rows, seed)


def _read(settings, constant):
    """The table that a constant names, its rows accounted for on the screen."""
    path = getattr(settings, constant)
    if not path:
        raise TableError(f"{constant} is empty; give it the path of a table")
    columns = [name.strip() for name in settings.COLUMN_NAMES.split(",") if name.strip()]
    with _naming(constant):
        table = read_table(path, settings.TEXT_COLUMN, settings.LABEL_COLUMN, settings.GROUP_COLUMN, columns,
                           settings.ENCODING, settings.QUOTING, settings.SECOND_TEXT_COLUMN)
    say_rows(table, first=constant == "TRAIN_PATH")
    return table


@contextlib.contextmanager
def _naming(constant):
    """Name the constant where the file that it gives is not there."""
    try:
        yield
    except TableError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise TableError(f"{error} ({constant})") from None
        raise


def make_loaders(settings, sets, model, team=ALONE):
    """A loader for each data set, of this process's share: the first is trained on, the others are gone through by
    length."""
    training, *others = sets
    pad_id = model.tokenizer.pad_token_id or 0
    layout_of = None if model.first_position is None else end_to_end    # in the batch, so that the loader pins it

    def loader(dataset, **batches):
        return DataLoader(
            dataset, collate_fn=lambda rows: padded(rows, pad_id, dataset.bottom, layout_of),
            pin_memory=model.device().type == "cuda",
            generator=torch.Generator(),    # of its own: a resumed epoch draws what the dropout would have drawn
            **batches)

    def scoring(dataset):
        by_length = numpy.argsort(dataset.lengths(), kind="stable")[team.rank::team.size].tolist()
        return loader(dataset, batch_size=settings.BATCH_SIZE, sampler=by_length)

    batches = LikeLengthBatches(training.lengths(), settings.BATCH_SIZE * team.size, settings.POOL_BATCHES,
                                settings.SEED, team.rank, team.size)
    batches.accumulation = settings.GRADIENT_ACCUMULATION_STEPS
    return [loader(training, batch_sampler=batches), *map(scoring, others)]


def change_texts(data, settings, tokenizer, epoch):
    """Put this epoch's changed texts in the place of the training texts, where AUGMENT asks for it."""
    if not settings.AUGMENT:
        return
    loader = data.loaders[0]
    texts = augmented(data.training.texts, settings.AUGMENT.split(","), settings.AUGMENT_SHARE, data.synonyms,
                      settings.SEED, epoch)
    rows = encode(texts, loader.dataset.labels, tokenizer, settings.MAX_LENGTH, data.training.seconds)
    loader.dataset.ids, loader.dataset.starts, loader.dataset.second_starts = rows.ids, rows.starts, rows.second_starts
    loader.batch_sampler.lengths = rows.lengths()
