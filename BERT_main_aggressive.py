"""Fine-tune a BERT-family encoder on a table of labelled texts, and say what the scores are worth.

    python BERT_main_aggressive.py                                  the sample in data/
    python BERT_main_aggressive.py --TRAIN_PATH=posts.csv           your own table; data/README.md says which formats
    python BERT_main_aggressive.py --FREEZE_STRATEGY=half           any constant below, by its name
    python BERT_main_aggressive.py --help                           all of them
    python BERT_main_aggressive.py --RESUME=True                    go on with a run that was interrupted
    torchrun --nproc_per_node=2 BERT_main_aggressive.py             train on two GPUs

Edit the constants or give them on the command line. The run ends with its scores beside those of guessing and of a
linear model, and leaves the best model, its figures and the constants used in a folder below runs/.
The sample with the constants as they stand: accuracy 0.67 and macro-F1 0.69 on 250 rows after five epochs, where a
linear model has 0.68 and 0.69 and always saying Negative 0.30 (embedded encoder, two CPU cores, 161 s, torch 2.13.0).
Does it not learn? `python diagnose_bert.py` takes the same constants and names the cause.
"""

import contextlib
import ctypes
import dataclasses
import datetime
import hashlib
import itertools
import json
import math
import os
import pickle
import platform
import random
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

if os.environ.get("RANK", "0") != "0":      # of several processes the first draws the bars; read when tqdm is imported
    os.environ["TQDM_DISABLE"] = "1"

import numpy
import sklearn
import torch
import transformers
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, f1_score
from sklearn.svm import LinearSVC
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from BERT_model_aggressive import (FREEZE_STRATEGIES, HEADS, BertSentimentClassifier, EncoderError, encoder_layers,
                                   find_encoder, flush_to_disk, load_encoder, multiply_quickly, row_length)
from training.texts.augment import CHANGES, augmented, read_synonyms
from training.texts.batches import BottomStates, LikeLengthBatches, Tokens, encode, padded
from training.texts.tables import (Overlap, Table, TableError, class_names, class_numbers, overlap, read_table, sample_rows,
                         split_table)
from training.constants import ConstantError, help_text, override, read_constants
from diagnosis.look import PlannedRun, Rows, look, told
from training.report.page import write_run_report

# data
TRAIN_PATH = "data/sample.csv"      # CSV, TSV or JSON lines, plain or .gz
VAL_PATH = ""                       # a table to validate on; empty: a part of TRAIN_PATH is set aside
TEXT_COLUMN = "text"                # column of the texts
LABEL_COLUMN = "label"              # column of the labels, words or whole numbers
GROUP_COLUMN = ""                   # rows with the same value here stay together in the split, as rows with the same
                                    # text always do; empty: no such column
COLUMN_NAMES = ""                   # columns of a file without a header line, as in id,entity,label,text
VALIDATION_SHARE = 0.1              # part of the rows set aside where no VAL_PATH is given
MAX_TRAIN_ROWS = 0                  # train on so many rows, drawn at random; validation shrinks alike; 0: all

# model
MODEL_NAME = "bert-base-uncased"    # folder or hub name; this default alone falls back to the embedded encoder
FREEZE_STRATEGY = "none"            # none, embed (embeddings), half (and half the layers), full (and three quarters)
HEAD = "batchnorm"                  # batchnorm (width-512-256-classes) or linear (width-classes)
DROPOUT = 0.3                       # after each hidden layer of the batchnorm head
MAX_LENGTH = 128                    # tokens kept of a text
CACHE_FROZEN_LAYERS = True          # with half and full: run the frozen layers once for each text, their dropout off, and
                                    # keep what they give; faster from the second epoch on

# training
BATCH_SIZE = 32                     # texts per forward pass, in each process of torchrun
POOL_BATCHES = 50                   # texts of like length share a batch, within pools of so many batches
GRADIENT_ACCUMULATION_STEPS = 1     # forward passes per optimizer step; multiplies the effective batch
NUM_EPOCHS = 5                      # passes over the training rows
LEARNING_RATE = 5e-5                # peak rate of AdamW; 2e-5 is the careful start
WARMUP_RATIO = 0.1                  # share of all optimizer steps (not epochs) in which the rate rises
WEIGHT_DECAY = 0.01                 # of AdamW; biases and norms have none
MAX_GRAD_NORM = 1.0                 # gradients longer than this are shortened to it; 0: no clipping
CLASS_WEIGHTS = False               # weigh each class in the loss by the inverse of its frequency
ENABLE_FP16 = True                  # mixed precision on CUDA; elsewhere it has no effect
EARLY_STOPPING_PATIENCE = 3         # stop after so many epochs without a better macro-F1; 0: never
SEED = 42                           # of the split, the order, the head's first weights and the dropout
DETERMINISTIC = False               # on CUDA the same figures bit for bit each time, at some cost in speed; a CPU gives
                                    # them anyway

# further options, all of them off
LAYER_LR_DECAY = 1.0                # each lower layer's rate is the one above it times this; 0.95 in Sun et al. 2019
HEAD_LEARNING_RATE = 0.0            # peak rate of the head; 0: LEARNING_RATE
LABEL_SMOOTHING = 0.0               # share of each label that is spread over all classes
AUGMENT = ""                        # ways to change training texts, commas between: reverse, delete, swap, synonyms
AUGMENT_SHARE = 0.5                 # share of the training texts that are changed, drawn afresh in each epoch
SYNONYMS_PATH = "data/synonyms.txt" # for AUGMENT=synonyms: lines of words that can stand for one another
COMPILE_LAYERS = False              # try torch.compile on the encoder's layers, which takes a minute, and keep it where it
                                    # is faster; on a CPU core it was not, on CUDA that has not been measured
ENSEMBLE = 0                        # average the probabilities of so many best epochs, and the weights of so many last
RUN_TRIALS = False                  # instead of one run those in this script's list TRIALS, and a table of them
TRIALS = [                          # constants that each trial changes; the first one changes none
    "",
    "LEARNING_RATE=1e-4",
    "BATCH_SIZE=16",
    "HEAD=linear",
    "ENABLE_FP16=False",
    "FREEZE_STRATEGY=embed",
    "FREEZE_STRATEGY=half",
    "FREEZE_STRATEGY=full",
]

# output
OUTPUT_DIR = "runs/aggressive"      # results go here, or where this exists to runs/aggressive-2, -3, ...
SAVE_EVERY = 500                    # optimizer steps between saved states, of which the last two are kept; one is saved
                                    # at each epoch's end too; 0: only there
RESUME = False                      # go on from the newest saved state in OUTPUT_DIR; from the start where it has none


class SettingError(ValueError):
    """A constant whose value cannot be used; the message is one line for people."""


class RunError(Exception):
    """A run that cannot go on to its end; the message is one line for people."""


# These change nothing of what is learned: a run may be resumed with others. A moved table is known by its contents.
HARMLESS = ("TRAIN_PATH", "VAL_PATH", "OUTPUT_DIR", "SAVE_EVERY", "RESUME")
MOST_SKIPPED = 20       # steps in a row that the scaler may skip; it halves its factor each time
LATE = 8                # flags on their way from the device, two a step, before the oldest is looked at
STATES_KEPT = 2         # the newest, and the one before in case the newest is damaged
CACHE_MEMORY = 0.25     # share of the machine's memory for CACHE_FROZEN_LAYERS; what needs more goes to the disk, in fp16
COMPILE_SECONDS = 60    # what compiling takes about; a shorter run cannot win that back
COMPILE_GAIN = 0.02     # share of a batch's time that compiled layers have to save, or they go: less is chance
COMPILE_BATCHES = 8     # they are tried on so many
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
WORD = r"(?u)[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]{2,}"     # scikit-learn's, but texts without
                        # blanks between their words (Chinese, Japanese) are cut into characters
BASELINE_ROWS = 200_000     # that the linear model is fitted on at most; its memory and time grow with them
SHOWN_CLASSES = 30      # with more of them the scores by class stand in files only


# Several processes, as torchrun starts them

@dataclass
class Team:
    """This process's place among those that train one model together; alone it is the first of one."""
    rank: int = 0
    size: int = 1
    hosts: object = None        # a group for what the hosts tell each other, beside the devices' own


ALONE = Team()


def join_team():
    """Join those that torchrun started with this process; the first of them alone speaks and writes files."""
    if not {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() or os.environ["WORLD_SIZE"] == "1":
        return ALONE
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # The first waits for nobody while it writes; the others may have to wait for it.
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo",
                                         timeout=datetime.timedelta(hours=1))
    if rank:
        sys.stdout = open(os.devnull, "w")
    return Team(rank, size, torch.distributed.new_group(backend="gloo"))


def leave_team(team):
    if team.size > 1:
        torch.distributed.destroy_process_group()


def with_team(model, team):
    """The model to train: itself, or torch's DistributedDataParallel around it."""
    if team.size == 1:
        return model
    return nn.parallel.DistributedDataParallel(model)     # device_ids would move the lengths to the device too


def unwrapped(model):
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def all_agree(team, number):
    """The highest of the processes' numbers."""
    if team.size == 1:
        return number
    highest = torch.tensor(number)
    torch.distributed.all_reduce(highest, torch.distributed.ReduceOp.MAX, group=team.hosts)
    return int(highest)


def add_up(team, numbers):
    """The sums of the processes' numbers, each the same whatever process asks."""
    if team.size == 1:
        return numbers
    total = torch.tensor(numbers, dtype=torch.float64)
    torch.distributed.all_reduce(total, group=team.hosts)
    return total.tolist()


def from_all(team, value):
    """The values that the processes have, as a list."""
    values = [value] * team.size
    if team.size > 1:
        torch.distributed.all_gather_object(values, value, group=team.hosts)
    return values


def gathered(team, tensors):
    """The tensors on the CPU, those of all processes one after the other; None: this process has none."""
    values = from_all(team, [None if one is None else one.cpu() for one in tensors])
    return [torch.cat([one for one in several if one is not None]) for several in zip(*values)]


def share_statistics(model, team):
    """BatchNorm's running statistics as the first process has them."""
    for statistics in model.buffers() if team.size > 1 else ():
        torch.distributed.broadcast(statistics, src=0)


def told_by_the_first(team, value):
    """What the first process has, in all of them."""
    if team.size == 1:
        return value
    values = [value]
    torch.distributed.broadcast_object_list(values, src=0, group=team.hosts)
    return values[0]


# Settings

def read_settings(arguments):
    """The constants above, as the arguments change them, checked."""
    constants = read_constants(__file__)
    settings = SimpleNamespace(**{one.name: one.value for one in constants} | override(constants, arguments))
    for name, known in (("FREEZE_STRATEGY", FREEZE_STRATEGIES), ("HEAD", HEADS)):
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
    settings.AUGMENT = ",".join(way.strip() for way in settings.AUGMENT.split(",") if way.strip())
    unknown = [way for way in settings.AUGMENT.split(",") if way and way not in CHANGES]
    if unknown:
        raise SettingError(f"AUGMENT knows no {unknown[0]!r}; it can be {', '.join(CHANGES)}, or several of them")
    return settings


def choose_run_folder(wanted, resume):
    """(the folder of this run, its lock or None): the one wanted, or with a number behind it where that exists.

    A new folder is made with the first thing to save. One to resume from is locked at once.

    Raises:
        SettingError: nothing can be written there, or another run is at work there.
    """
    folder = Path(wanted)
    if resume and folder.is_dir():
        return folder, lock_folder(folder)
    number = 1
    while folder.exists():
        number += 1
        folder = Path(f"{wanted}-{number}")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise SettingError(f"OUTPUT_DIR {wanted!r} cannot be made: {above} is no folder that can be written to; "
                           "name another")
    return folder, None


def lock_folder(folder):
    """Keep other runs out of a folder for as long as this process lives; the system frees the lock when it dies."""
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SettingError(f"{folder}: another run is at work there; wait for it, or name another OUTPUT_DIR") from None
    except OSError as error:
        raise SettingError(f"{folder} cannot be written to: {error.strerror}") from error
    return lock


# Data

def read_tables(settings):
    """(training rows, validation rows, rows of the whole training file)."""
    columns = [name.strip() for name in settings.COLUMN_NAMES.split(",") if name.strip()]
    arguments = (settings.TEXT_COLUMN, settings.LABEL_COLUMN, settings.GROUP_COLUMN, columns)
    whole = read_table(settings.TRAIN_PATH, *arguments)
    if len(set(whole.labels)) < 2:
        raise TableError(f"{whole.path}: every label is {whole.labels[0]!r}; there is nothing to tell apart")
    say("rows", f"{whole.account()}  ({whole.path})")
    if settings.VAL_PATH:
        validation = read_table(settings.VAL_PATH, *arguments)
        say("", f"{validation.account()}  ({validation.path})")
        class_numbers(validation, class_names(whole.labels))    # a class that training lacks is refused at once
        return sample_rows(whole, settings.MAX_TRAIN_ROWS, settings.SEED), validation, whole
    training, validation = split_table(whole, settings.VALIDATION_SHARE, settings.SEED)
    if len(training) < 2 or settings.MAX_TRAIN_ROWS == 1:
        raise TableError(f"{whole.path}: one row is left to train on; give more rows")
    if 0 < settings.MAX_TRAIN_ROWS < len(training):
        share = settings.MAX_TRAIN_ROWS / len(training)
        training = sample_rows(training, settings.MAX_TRAIN_ROWS, settings.SEED)
        validation = sample_rows(validation, max(round(share * len(validation)), 1), settings.SEED)
    return training, validation, whole


def say_split(settings, training, validation, whole):
    """Print how the rows are shared out; return a short warning for every score where the shares overlap."""
    say("split", f"{len(training):,} to train on, {len(validation):,} to validate on")
    shared = overlap(whole if settings.VAL_PATH else training, validation)
    groups = "" if shared.groups is None else f" and of the {settings.GROUP_COLUMN}s {shared.groups:.1%}"
    say("", f"of the validation texts {shared.texts:.1%}{groups} stand in training too")
    if not shared.inflates:
        return shared, ""
    if len(training) < len(whole):
        used = overlap(training, validation)
        groups = "" if used.groups is None else f", {settings.GROUP_COLUMN}s {used.groups:.1%}"
        say("", f"in the {len(training):,} rows trained on: texts {used.texts:.1%}{groups}")
    say("", "so validation scores are INFLATED: they measure memory as well as understanding")
    highest = max(shared.texts, shared.groups or 0.0)
    return shared, f"inflated: {highest:.0%} of validation stands in training"


def make_loaders(settings, training, validation, pad_id, device, team=ALONE):
    """(training loader, validation loader) of this process's share; the latter goes through the rows by length."""
    def loader(dataset, **batches):
        return DataLoader(
            dataset, collate_fn=lambda rows: padded(rows, pad_id, dataset.bottom), pin_memory=device.type == "cuda",
            generator=torch.Generator(),    # of its own: a resumed epoch draws what the dropout would have drawn
            **batches)

    by_length = numpy.argsort(validation.lengths(), kind="stable")[team.rank::team.size].tolist()
    return (loader(training, batch_sampler=LikeLengthBatches(
                training.lengths(), settings.BATCH_SIZE * team.size, settings.POOL_BATCHES, settings.SEED, team.rank,
                team.size)),
            loader(validation, batch_size=settings.BATCH_SIZE, sampler=by_length))


# Baselines: what any score has to be held against

@dataclass
class Baseline:
    """What needs no encoder, measured on the same rows."""
    loss: float             # of giving each class its training share as probability
    accuracy: float         # of always naming the largest class of training
    largest_class: str
    linear_accuracy: float  # LinearSVC over TF-IDF
    linear_macro_f1: float
    linear_model: str = "LinearSVC over TF-IDF"     # says so where it was not fitted on all rows


def measure_baseline(training, validation, names, training_labels, validation_labels, seed=0):
    """Guessing, and a linear model over TF-IDF, both fitted on the training rows; it on BASELINE_ROWS at most."""
    shares = numpy.bincount(training_labels, minlength=len(names)) / len(training_labels)
    vectors = TfidfVectorizer(token_pattern=WORD)
    texts, labels, linear_model = training.texts, training_labels, Baseline.linear_model
    if len(training) > BASELINE_ROWS:
        drawn = numpy.sort(numpy.random.default_rng(seed).choice(len(training), BASELINE_ROWS, replace=False))
        texts, labels, linear_model = [texts[row] for row in drawn], labels[drawn], f"LinearSVC, {BASELINE_ROWS:,} rows"
    try:
        with warnings.catch_warnings():     # many classes beside few rows are no news here
            warnings.simplefilter("ignore", UserWarning)
            model = LinearSVC(random_state=0).fit(vectors.fit_transform(texts), labels)
        linear = model.predict(vectors.transform(validation.texts))
    except ValueError:      # no word in any text: the linear model has nothing to see and guesses
        linear = numpy.full_like(validation_labels, shares.argmax())
    with numpy.errstate(divide="ignore"):
        return Baseline(float(-numpy.log(shares)[validation_labels].mean()),
                        float((validation_labels == shares.argmax()).mean()), names[shares.argmax()],
                        accuracy_score(validation_labels, linear),
                        f1_score(validation_labels, linear, average="macro", zero_division=0), linear_model)


# Optimization

def make_optimizer(model, learning_rate, weight_decay, layer_decay=1.0, head_rate=0.0):
    """AdamW over the trainable parameters; biases and norms, which have one dimension, are not decayed.

    The top layer, the pooler and the head have the learning rate, every layer below that of the layer above it times
    layer_decay (Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?"), the embeddings as a layer of their
    own; the head has head_rate where that is not 0.
    """
    parts = model.parts()
    below = [part for part in parts if part == "embeddings" or part.startswith("layer ")]
    rates = {part: learning_rate for part in parts} | {"head": head_rate or learning_rate}
    rates |= {part: learning_rate * layer_decay ** depth for depth, part in enumerate(reversed(below))}
    groups = {}
    for part, parameters in reversed(parts.items()):
        for one in parameters:
            if one.requires_grad:
                key = (rates[part], weight_decay if one.dim() > 1 else 0.0)
                groups.setdefault(key, {"params": [], "lr": key[0], "weight_decay": key[1]})["params"].append(one)
    return torch.optim.AdamW(sorted(groups.values(), key=lambda group: (-group["lr"], -group["weight_decay"])),
                             lr=learning_rate, fused=True)


def count_steps(batches, accumulation, epochs):
    """Optimizer steps in an epoch and in all; a rest of fewer batches than accumulation makes a step of its own."""
    steps_per_epoch = math.ceil(batches / accumulation)
    return steps_per_epoch, steps_per_epoch * epochs


def make_schedule(optimizer, steps, warmup_ratio):
    """Linear warm-up and decay, counted in optimizer steps and to be stepped after each of them."""
    return transformers.get_linear_schedule_with_warmup(optimizer, round(warmup_ratio * steps), steps)


def class_loss_weights(labels, classes, device):
    """Each class's weight in the loss: the inverse of its frequency, 1 on average; 1 too for a class without rows."""
    present = numpy.unique(labels)
    weights = numpy.ones(classes)
    weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return torch.tensor(weights, dtype=torch.float32, device=device)


@dataclass
class Precision:
    """What the forward pass computes in, and why."""
    device: torch.device
    dtype: torch.dtype | None       # of autocast; None: everything in float32
    reason: str

    def autocast(self):
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def scaler(self):
        """Lifts small fp16 gradients out of the range where they would round to zero; does nothing in float32."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)


def choose_precision(enable_fp16):
    if not torch.cuda.is_available():
        return Precision(torch.device("cpu"), None, "fp32    no CUDA device: ENABLE_FP16 has no effect here")
    if not enable_fp16:
        return Precision(torch.device("cuda"), None, "fp32    ENABLE_FP16 is off")
    return Precision(torch.device("cuda"), torch.float16, "fp16    autocast with a gradient scaler; weights stay fp32")


# One epoch

@dataclass
class Tally:
    """What an epoch has summed up so far; saved with the state, so that a resumed epoch ends with the same figures."""
    sums: torch.Tensor          # of the loss and the right predictions, on the device, float64
    batches: int = 0
    rows: int = 0
    tokens: int = 0
    positions: int = 0          # computed by the encoder outside attention, padding included
    rate: float = 0.0           # of the last step
    skipped: int = 0            # steps that the scaler skipped
    skipped_in_a_row: int = 0
    owed: int = 0               # of these, steps in which the schedule has yet to wait
    seconds: float = 0.0


def new_tally(device):
    return Tally(torch.zeros(2, dtype=torch.float64, device=device))


class NumbersGoneWrong(Exception):
    """A loss or gradient that no later step can mend; the message says what and at which step of the epoch."""

    def __init__(self, what, rows=()):
        super().__init__(what)
        self.rows = list(rows)      # numbers of the training rows in the batches of that step


class Watch:
    """Fetches booleans from the device while it works on: each is looked at LATE flags later, when it has long arrived,
    so that the host never waits. A CPU's are looked at at once."""

    def __init__(self):
        self.on_their_way = deque()

    def note(self, flag, then):
        """then(flag) is called once the flag, a boolean tensor, is known."""
        if flag.device.type != "cuda":
            then(bool(flag))
            return
        host = torch.empty_like(flag, device="cpu", pin_memory=True).copy_(flag, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self.on_their_way.append((arrived, host, then))
        self.look(LATE)

    def look(self, left=0):
        """Look at the flags until so many are left; at all of them before anything is saved."""
        while len(self.on_their_way) > left:
            arrived, host, then = self.on_their_way.popleft()
            arrived.synchronize()
            then(bool(host))


def logits_of(model, batch, precision, bottom=None):
    """Logits [rows, classes] in float32 of a batch from a loader; bottom: the BottomStates to learn its rows' from."""
    inputs = {name: batch[name].to(precision.device, non_blocking=True)
              for name in ("input_ids", "attention_mask", "bottom") if name in batch}
    if "bottom" in inputs:
        inputs["bottom"] = inputs["bottom"].float()
    with precision.autocast():
        if bottom is None or "bottom" in batch:
            return model(**inputs, lengths=batch["lengths"]).float()
        with model.seeing_bottom() as seen:
            logits = model(**inputs, lengths=batch["lengths"])
    lengths = batch["lengths"].numpy()
    states = seen[0][0, :lengths.sum()] if seen[0].shape[0] == 1 else seen[0][inputs["attention_mask"].bool()]
    bottom.keep(batch["rows"].numpy(), states, lengths)
    return logits.float()


def train_epoch(model, loader, optimizer, schedule, scaler, precision, loss_weights=None, accumulation=1,
                max_grad_norm=1.0, title="train", tally=None, after_step=None, label_smoothing=0.0, team=ALONE):
    """One pass over the loader, or over what a resumed tally has left of it.

    Args:
        after_step: called after each optimizer step, when everything is such that a state can be saved.

    Returns:
        loss (plain cross-entropy, whatever the class weights and the smoothing) and accuracy of the training rows as
        the weights stood when each was seen, the last learning rate, steps skipped by the scaler, rows, real tokens,
        positions computed outside attention, seconds; of all processes together.

    Raises:
        NumbersGoneWrong: a loss or gradient is NaN or infinite, or the scaler skips step after step.
    """
    model.train()
    tally = tally or new_tally(precision.device)
    watch, mark, rows_of_step = Watch(), time.perf_counter(), []
    optimizer.zero_grad()
    bar = tqdm(loader, title, total=len(loader), initial=tally.batches, leave=False, disable=None)
    for index, batch in enumerate(bar, start=tally.batches):
        in_group = min(accumulation, len(loader) - index // accumulation * accumulation)
        step = index // accumulation + 1
        rows_of_batch = batch["rows"].tolist()
        rows_of_step += rows_of_batch
        logits = logits_of(model, batch, precision, loader.dataset.bottom)
        labels = batch["labels"].to(precision.device, non_blocking=True)
        loss = batch_loss(logits, labels, loss_weights, label_smoothing, team)
        watch.note(loss.detach().isfinite(), partial(
            require, what=f"the loss is not finite at step {step:,} of the epoch", rows=rows_of_batch))
        scaler.scale(loss / in_group).backward()
        with torch.no_grad():
            tally.sums += torch.stack([cross_entropy(logits, labels, reduction="sum"),
                                       (logits.argmax(dim=1) == labels).sum()])
        tally.batches += 1
        tally.rows += len(labels)
        tally.tokens += int(batch["lengths"].sum())
        tally.positions += row_length(batch["lengths"]) if unwrapped(model).first_position is not None else \
            batch["input_ids"].numel()
        if (index + 1) % accumulation and index + 1 < len(loader):
            continue
        tally.rate = max(group["lr"] for group in optimizer.param_groups)
        take_step(model, optimizer, schedule, scaler, max_grad_norm, tally, lambda norm: watch.note(
            norm.isfinite(), partial(judge_gradient, scaler=scaler, tally=tally, step=step, rows=rows_of_step)))
        rows_of_step = []
        tally.seconds += time.perf_counter() - mark
        if after_step is not None:
            after_step(watch)
        mark = time.perf_counter()
    watch.look()
    if loader.dataset.bottom is not None:
        loader.dataset.bottom.arrive()
    loss_sum, correct, rows, tokens, positions = add_up(
        team, tally.sums.tolist() + [tally.rows, tally.tokens, tally.positions])
    return {"loss": loss_sum / rows, "accuracy": correct / rows, "rate": tally.rate, "skipped": tally.skipped,
            "rows": rows, "tokens": tokens, "positions": positions, "seconds": tally.seconds}


def batch_loss(logits, labels, loss_weights, label_smoothing, team):
    """The mean loss of the rows; of several processes' rows together, once their gradients are averaged."""
    if team.size == 1:
        return cross_entropy(logits, labels, loss_weights, label_smoothing=label_smoothing)
    weight = loss_weights[labels].sum() if loss_weights is not None else logits.new_tensor(float(len(labels)))
    torch.distributed.all_reduce(weight)
    return cross_entropy(logits, labels, loss_weights, label_smoothing=label_smoothing, reduction="sum") \
        * team.size / weight


def require(finite, what, rows):
    if not finite:
        raise NumbersGoneWrong(what, rows)


def judge_gradient(finite, scaler, tally, step, rows):
    """Note whether a step was skipped: with fp16 an infinite gradient is the scaler's everyday business.

    Raises:
        NumbersGoneWrong: without a scaler a gradient is not finite; with one, it has skipped too many steps in a row.
    """
    if not scaler.is_enabled():
        require(finite, f"a gradient is not finite at step {step:,} of the epoch", rows)
        return
    tally.skipped_in_a_row = 0 if finite else tally.skipped_in_a_row + 1
    tally.skipped += not finite
    tally.owed += not finite
    require(tally.skipped_in_a_row <= MOST_SKIPPED,
            f"the scaler has skipped {tally.skipped_in_a_row} steps in a row, up to step {step:,} of the epoch: the "
            "gradients overflow fp16 at every scale (ENABLE_FP16=False trains without)", rows)


def take_step(model, optimizer, schedule, scaler, max_grad_norm, tally, judge_norm):
    """Unscale, clip, judge, step, update, schedule, zero. For a step that the scaler skipped the schedule waits: on
    CUDA a few steps later, when the host knows of it."""
    scaler.unscale_(optimizer)
    trained = [one for one in model.parameters() if one.grad is not None]
    norm = nn.utils.clip_grad_norm_(trained, max_grad_norm) if max_grad_norm > 0 else \
        nn.utils.get_total_norm([one.grad for one in trained])
    judge_norm(norm)
    scaler.step(optimizer)
    scaler.update()
    if tally.owed:
        tally.owed -= 1
    else:
        schedule.step()
    optimizer.zero_grad()


@torch.no_grad()
def evaluate(model, loader, precision, check=lambda: None, team=ALONE):
    """Logits [rows, classes] and mean cross-entropy of the loader's rows, in the order of their row numbers.

    check is called for each batch and may end the pass by an exception. Of several processes each computes its share
    of the rows, and all have all logits in the end.
    """
    model.eval()
    logits, rows, labels = [], [], []
    for batch in tqdm(loader, "validate", leave=False, disable=None):
        check()
        logits.append(logits_of(model, batch, precision, loader.dataset.bottom))
        rows.append(batch["rows"])
        labels.append(batch["labels"])
    if loader.dataset.bottom is not None:
        loader.dataset.bottom.arrive()
    logits, rows, labels = gathered(team, [torch.cat(one) if one else None for one in (logits, rows, labels)])
    order = rows.argsort()
    return logits[order], cross_entropy(logits[order], labels[order]).item()


# What an epoch's figures mean: the guide's tuning table, as shares of the loss of guessing on this data. Its bounds
# 1.38, 1.0 and 0.5 were written for four equal classes, where guessing costs ln 4.

MEANINGS = ((0.98, "no better than guessing; python diagnose_bert.py says why"),
            (1.0 / math.log(4), "learning slowly"),
            (0.5 / math.log(4), "learning"),
            (-1.0, "learning well"))


def meaning(history, baseline):
    """What the last epoch's losses say, held against the loss of guessing."""
    last = history[-1]
    if len(history) > 1:
        before = history[-2]
        if last["val_loss"] > before["val_loss"] and last["train_loss"] < before["train_loss"] \
                and last["val_loss"] < baseline.loss:
            return "validation loss rises while training loss falls: overfitting begins"
    return next(text for bound, text in MEANINGS if last["val_loss"] > bound * baseline.loss)


# Results

def epoch_figures(epoch, seen, val_loss, predictions, labels):
    """One line of metrics.jsonl."""
    return {"epoch": epoch, "train_loss": seen["loss"], "train_acc": seen["accuracy"], "val_loss": val_loss,
            "val_acc": accuracy_score(labels, predictions),
            "val_macro_f1": f1_score(labels, predictions, average="macro", zero_division=0),
            "lr": seen["rate"], "seconds": seen["seconds"], "samples_per_second": seen["rows"] / seen["seconds"],
            "tokens_per_second": seen["tokens"] / seen["seconds"],
            "padding_share": 1 - seen["tokens"] / seen["positions"], "skipped_steps": seen["skipped"]}


def write_whole(path, text):
    """Write a text beside and rename it: the file is the old one or the new one, whatever happens."""
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_bytes(text.encode("utf-8", "backslashreplace"))    # a path may hold bytes that are no text
        flush_to_disk(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    flush_to_disk(path.parent)


def classes_told(names, labels, predictions):
    """The classification report and the confusion matrix, as text."""
    numbers = range(len(names))
    report = classification_report(labels, predictions, labels=numbers, target_names=names, digits=3, zero_division=0)
    matrix = confusion_matrix(labels, predictions, labels=numbers)
    width = max(8, *(len(name) + 2 for name in names))
    lines = ["true \\ predicted".ljust(20) + "".join(name.rjust(width) for name in names)]
    lines += [name.ljust(20) + "".join(f"{count:>{width}}" for count in row) for name, row in zip(names, matrix)]
    return report, "\n".join(lines) + "\n"


def write_results(run):
    """metrics.jsonl, and of the best epoch report.html, the classification report and the confusion matrix."""
    history, best = run.progress.history, run.progress.best
    write_whole(run.folder / "metrics.jsonl", "".join(json.dumps(epoch) + "\n" for epoch in history))
    report, matrix = classes_told(run.names, run.labels, best["probabilities"].argmax(axis=1))
    note = f"epoch {best['epoch']}, {best['encoder']}" + (f"; {run.warning}" if run.warning else "") + "\n\n"
    write_whole(run.folder / "classification_report.txt", note + report)
    write_whole(run.folder / "confusion_matrix.txt", note + matrix)
    write_run_report(
        run.folder, history=history, best_epoch=best["epoch"], probabilities=best["probabilities"], labels=run.labels,
        names=run.names, validation=run.validation, lengths=run.loaders[1].dataset.lengths(), baseline=run.baseline,
        shared=run.overlap, warning=run.warning, constants=vars(run.settings),
        facts=run.facts | {"versions": versions()})


def versions():
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__,
            "transformers": transformers.__version__, "scikit-learn": sklearn.__version__}


def write_config(folder, settings, facts):
    config = {"constants": vars(settings), **facts, "versions": versions()}
    write_whole(folder / "config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def say(topic, text):
    print(f"{topic:<11}{text}", flush=True)


def say_plan(settings, optimizer_rate, steps_per_epoch, steps, training_batches):
    """The whole schedule before any time is spent on it."""
    warmup = round(settings.WARMUP_RATIO * steps)
    say("schedule", f"{steps:,} optimizer steps, {steps_per_epoch:,} an epoch; warm-up {warmup:,} steps")
    points = sorted({0, warmup // 2, warmup, (warmup + steps) // 2, steps - 1})
    say("", "rate at step " + ", ".join(f"{point + 1:,}: {optimizer_rate(point):.2g}" for point in points))
    if training_batches.merged:
        say("", f"the last batch of an epoch would have {training_batches.merged} rows only; "
                "they join the batch before it")


def say_look(model, optimizer, schedule, steps_per_epoch, settings, texts, training, validation):
    """The doctor's checks that need no training: one line when all is well, the findings when not."""
    sample = model.tokenizer(texts[:1000], truncation=False, verbose=False, return_attention_mask=False)["input_ids"]
    run = PlannedRun(settings.NUM_EPOCHS, steps_per_epoch, settings.BATCH_SIZE,
                     Rows(Tokens(training), training.labels), Rows(Tokens(validation), validation.labels),
                     model.tokenizer, settings.MAX_LENGTH, list(map(len, sample)))
    judgement = look(model, optimizer, schedule, run, __file__)
    for line, text in enumerate(told(judgement)):
        say("look" if line == 0 else "", text)


def say_epoch(history, baseline, warning):
    """One line an epoch; it begins as the guide's examples do."""
    last = history[-1]
    skipped = f" | {last['skipped_steps']} steps skipped by the scaler" if last["skipped_steps"] else ""
    inflated = f" ({warning})" if warning else ""
    print(f"Epoch {last['epoch']}: Loss={last['train_loss']:.4f}, Acc={last['train_acc']:.4f} | "
          f"validation loss {last['val_loss']:.4f}, accuracy {last['val_acc']:.4f}, macro-F1 {last['val_macro_f1']:.4f}"
          f"{inflated} | rate {last['lr']:.2g} | {last['seconds']:.1f} s, {last['samples_per_second']:.0f} examples/s"
          f"{skipped} | {meaning(history, baseline)}", flush=True)


def say_summary(best, epochs, baseline, rows, encoder_name, warning):
    """The score beside its baselines."""
    margin = 1.96 * math.sqrt(best["val_acc"] * (1 - best["val_acc"]) / rows)
    inflated = f"   {warning}" if warning else ""
    say("best", f"epoch {best['epoch']} of {epochs}, chosen by macro-F1 on these same {rows:,} rows; {encoder_name}")
    print(f"{'':<11}{'':<32}{'accuracy':>9}{'macro-F1':>10}")
    print(f"{'':<11}{'this model':<32}{best['val_acc']:>9.3f}{best['val_macro_f1']:>10.3f}   "
          f"accuracy ± {margin:.3f} (95 %, from {rows:,} rows){inflated}")
    print(f"{'':<11}{baseline.linear_model:<32}{baseline.linear_accuracy:>9.3f}{baseline.linear_macro_f1:>10.3f}"
          f"{inflated}")
    print(f"{'':<11}{'always ' + baseline.largest_class:<32}{baseline.accuracy:>9.3f}")


# State: all that a run needs to go on as if it had never been interrupted

@dataclass
class Progress:
    """How far a run is."""
    epoch: int = 1              # the epoch under way
    step: int = 0               # optimizer steps in all, those that the scaler skipped among them
    tally: Tally | None = None  # of the epoch under way
    history: list[dict] = dataclasses.field(default_factory=list)
    best: dict | None = None    # the best epoch's line of history and its probabilities [validation rows, classes]
    finished: bool = False
    ensemble: list[dict] = dataclasses.field(default_factory=list)     # the ENSEMBLE best epochs: number, macro-F1,
                                                                        # probabilities


def file_sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def rows_sha256(*encoded):
    """Of the rows as they reach the model: the same file, split and tokenizer give the same."""
    digest = hashlib.sha256()
    for rows in encoded:
        for array in (rows.ids, rows.starts, rows.labels):
            digest.update(numpy.ascontiguousarray(array))
    return digest.hexdigest()


def random_states():
    version, words, position, has_gauss, gauss = numpy.random.get_state()
    return {"python": random.getstate(), "torch": torch.get_rng_state(),
            "numpy": [version, words.tolist(), position, has_gauss, gauss],
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None}


def restore_random_states(states):
    random.setstate(states["python"])
    numpy.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"])


def state_name(progress):
    """Sorts by age. An epoch's end is of the next epoch, so that it has another name than its last step."""
    return f"epoch-{progress.epoch:04}-step-{progress.step:09}.pt"


def save_state(run):
    """Write the state beside, flush it, rename it, and put its checksum (as sha256sum writes it) behind it.

    Only then the oldest state goes. A state without checksum was not finished and counts for nothing. Of several
    processes all must call this, and the first writes what each of them has of its own.
    """
    folder, progress = run.folder / "state", run.progress
    own = from_all(run.team, {"random": random_states(), "tally": None if progress.tally is None else
                              vars(progress.tally) | {"sums": progress.tally.sums.cpu()}})
    if run.team.rank:
        return
    folder.mkdir(exist_ok=True)
    best, probabilities = progress.best, None
    if best is not None:
        best, probabilities = best.copy(), torch.from_numpy(best["probabilities"])
        del best["probabilities"]
    about = {"epoch": progress.epoch, "step": progress.step, "finished": progress.finished, "history": progress.history,
             "best": best, "constants": vars(run.settings), "data": run.data_sha256, "versions": versions(),
             "device": str(run.precision.device), "processes": run.team.size,
             "best_sha256": file_sha256(run.folder / "best" / "model.safetensors") if best else None}
    path = folder / state_name(progress)
    beside = path.with_suffix(".part")
    try:
        with open(beside, "wb") as file:
            torch.save({"about": json.dumps(about), "probabilities": probabilities, "own": own,
                        "ensemble": [one | {"probabilities": torch.from_numpy(one["probabilities"])}
                                     for one in progress.ensemble],
                        "averaged": run.averaged.state_dict() if run.averaged is not None else None,
                        "model": run.model.state_dict(), "optimizer": run.optimizer.state_dict(),
                        "schedule": run.schedule.state_dict(), "scaler": run.scaler.state_dict()}, file)
        flush_to_disk(beside)
        checksum = file_sha256(beside)
        os.replace(beside, path)
    except RuntimeError as error:       # torch.save hides what the system said of a full disk
        raise error.__context__ if isinstance(error.__context__, OSError) else error
    finally:
        beside.unlink(missing_ok=True)
    write_whole(path.with_suffix(".sha256"), f"{checksum}  {path.name}\n")
    for old in sorted(folder.glob("*.pt"))[:-STATES_KEPT]:
        old.with_suffix(".sha256").unlink(missing_ok=True)
        old.unlink()


def newest_state(folder):
    """The newest state that is whole, or None where none was ever saved; says which ones were passed over.

    Raises:
        SettingError: there are states, and none of them is whole.
    """
    paths = sorted((folder / "state").glob("*.sha256"), reverse=True)
    for path in paths:
        state = path.with_suffix(".pt")
        try:
            if file_sha256(state) != path.read_text("ascii").split()[0]:
                raise ValueError("its checksum differs")
            return torch.load(state, map_location="cpu", weights_only=True)     # tensors and plain values, never code
        except Exception as error:      # a damaged file can raise anything
            problem = "it holds more than tensors and plain values" if isinstance(error, pickle.UnpicklingError) else \
                str(error) or type(error).__name__
            say("resume", f"passed over {state}: {problem.splitlines()[0]}")
    if paths:
        raise SettingError(f"{folder / 'state'}: none of the {len(paths)} saved states is whole; start anew with "
                           "another OUTPUT_DIR")
    return None


def refuse_other_run(about, settings, data_sha256, folder):
    """Refuse to go on where what is learned would not be what it was; say which harmless things differ.

    Raises:
        SettingError: constants or rows differ.
    """
    was, now = about["constants"], vars(settings)
    differing = [name for name in now if name not in was or was[name] != now[name]]
    harmful = [f"{name} was {was.get(name, 'unknown')!r} and is {now[name]!r}" for name in differing
               if name not in HARMLESS]
    if harmful:
        raise SettingError(f"{folder} was begun with other constants, and what is learned depends on them: "
                           f"{'; '.join(harmful)}. Give them as they were, or start anew with another OUTPUT_DIR")
    for name, what in (("TRAIN_PATH", "training file"), ("VAL_PATH", "validation file"), ("rows", "tokenized rows")):
        if about["data"][name] != data_sha256[name]:
            raise SettingError(f"{folder} was begun with another {what}{f' than {now[name]}' if name in now else ''}; "
                               "give it as it was, or start anew with another OUTPUT_DIR")
    harmless = [name for name in differing if name not in ("RESUME", "OUTPUT_DIR")]
    if harmless:
        say("", f"{', '.join(harmless)} changed since, which changes nothing of what is learned")
    changed = [f"{name} {old} (now {versions().get(name)})" for name, old in about["versions"].items()
               if versions().get(name) != old]
    if changed:
        say("", f"begun with {', '.join(changed)}: the figures will not be the same bit for bit")


def resume(run):
    """Put a run where its newest whole state was saved; True where it had such a state."""
    state = newest_state(run.folder)
    if state is None:
        say("resume", f"{run.folder} has no saved state: the run begins at the start")
        return False
    about = json.loads(state["about"])
    progress = Progress(about["epoch"], about["step"], None, about["history"], about["best"], about["finished"])
    say("resume", f"epoch {progress.epoch}, after {progress.step:,} optimizer steps, from {run.folder}"
        if not progress.finished else f"{run.folder} is finished: nothing is left to train")
    refuse_other_run(about, run.settings, run.data_sha256, run.folder)
    if about["processes"] != run.team.size:
        raise SettingError(f"{run.folder} was begun with {about['processes']} processes, not {run.team.size}, and what "
                           "is learned depends on that: a batch is as many times BATCH_SIZE")
    own = state["own"][run.team.rank]
    if str(run.precision.device) != about["device"]:
        say("", f"begun on {about['device']}, going on on {run.precision.device}: the figures will not be the same "
                "bit for bit")
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.schedule.load_state_dict(state["schedule"])
    run.scaler.load_state_dict(state["scaler"])
    if run.averaged is not None:
        run.averaged.load_state_dict(state["averaged"])
    progress.ensemble = [one | {"probabilities": one["probabilities"].numpy()} for one in state["ensemble"]]
    if own["tally"] is not None:
        progress.tally = Tally(**own["tally"])
        progress.tally.sums = progress.tally.sums.to(run.precision.device)
    if progress.best is not None:
        weights = run.folder / "best" / "model.safetensors"
        if weights.is_file() and file_sha256(weights) == about["best_sha256"]:
            progress.best["probabilities"] = state["probabilities"].numpy()
        elif progress.finished:
            raise SettingError(f"{weights} is not the model that the finished run saved")
        else:       # an epoch after this state has written over it; that epoch is about to be repeated
            progress.best = None
    run.progress = progress
    restore_random_states(own["random"])
    return True


class Interrupted(Exception):
    """The step under way is done; the run is to be saved and left."""


class Interruption:
    """Ctrl-C and SIGTERM are noted, so that the step under way can be finished; a second one ends the process."""

    def __init__(self):
        self.signal, self.before = None, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.note)
        return self

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def note(self, number, frame):
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        os.write(2, b"\nfinishing the step, then saving; once more leaves at once\n")

    def check(self):
        if self.signal is not None:
            raise Interrupted


# The run

def load_model(settings, names, precision, team=ALONE):
    """The classifier on its device, as the settings ask for it; says which encoder it got and what is trained of it."""
    source = find_encoder(settings.MODEL_NAME)
    say("encoder", source.name)
    say("", f"NOT {settings.MODEL_NAME}: {source.reason}" if source.is_fallback else f"from {source.reason}")
    encoder, tokenizer = load_encoder(source)
    longest = getattr(encoder.config, "max_position_embeddings", settings.MAX_LENGTH)
    if settings.MAX_LENGTH > longest:
        raise SettingError(f"MAX_LENGTH is {settings.MAX_LENGTH}; {source.name} takes at most {longest} tokens")
    model = BertSentimentClassifier(
        source.name, len(names), settings.DROPOUT, settings.FREEZE_STRATEGY, settings.HEAD, label_names=names,
        max_length=settings.MAX_LENGTH, encoder=encoder, tokenizer=tokenizer).to(precision.device)
    say("device", torch.cuda.get_device_name() if precision.device.type == "cuda" else
        f"cpu, {torch.get_num_threads()} threads")
    say("precision", precision.reason)
    why_not = model.run_end_to_end()
    say("padding", "none computed outside attention: a batch's texts run end to end" if not why_not else
        f"batches of like length; {type(model.encoder).__name__} cannot run texts end to end: {why_not}")
    if precision.device.type == "cuda":
        torch.set_float32_matmul_precision("high")      # TF32, in whatever stays float32
    else:
        model.draw_dropout_quickly()
        multiply_quickly()
    if team.size > 1:
        say("processes", f"{team.size} with {settings.BATCH_SIZE} texts each: {team.size * settings.BATCH_SIZE} "
                         "a batch")
        if precision.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        elif settings.HEAD == "batchnorm":
            say("", "BatchNorm takes its statistics from each process's own texts: only CUDA can share them")
    for line, text in enumerate(model.parameter_table().splitlines()):
        say("parameters" if line == 0 else "", text)
    return model


def keep_freed_memory():
    """On a CPU with glibc: keep what a step frees for the next one, instead of giving it back to the system.

    glibc maps blocks above 32 MB anew each time, the gradient of the word embeddings among them, and the system clears
    their pages: a tenth of a step. The numbers are those of <malloc.h>.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):       # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, (1 << 31) - 1)):
            mallopt(name, value)


def cache_bottom(settings, model, datasets, precision, folder, team):
    """Keep what the frozen layers make of each text from its first time on, where that pays; say so, or why not."""
    layers = model.frozen_layers()
    if not settings.CACHE_FROZEN_LAYERS or not layers:
        return
    width = model.encoder.config.hidden_size
    numbers = width * sum(len(one.ids) for one in datasets)
    dtype, disk, place = numpy.float32 if precision.dtype is None else numpy.float16, None, "in memory"
    if numbers * numpy.dtype(dtype).itemsize > CACHE_MEMORY * memory_bytes():
        disk = next(parent for parent in folder.absolute().parents if parent.exists())
        dtype, place = numpy.float16, f"in fp16 on the disk of {disk}"
    size = numbers * numpy.dtype(dtype).itemsize
    why_not = "one epoch would not read it" if settings.NUM_EPOCHS == 1 else \
        "AUGMENT changes the texts in each epoch" if settings.AUGMENT else \
        "each process has other texts in each epoch" if team.size > 1 else \
        f"{size / 1e9:.1f} GB do not fit {place}" if disk and size > shutil.disk_usage(disk).free * 0.9 else ""
    if why_not:
        say("cache", f"off: {why_not}")
        return
    for dataset in datasets:    # a file without a name is gone with the process, however it ends
        file = tempfile.TemporaryFile(dir=disk) if disk else None
        dataset.bottom = BottomStates(dataset.starts, width, dtype, file)
    model.hold_bottom_still()
    say("cache", f"the {layers} frozen layers run once for each text, without dropout: {size / 1e9:.2g} GB {place}")


def compile_layers(settings, model, loader, precision, team):
    """Compile the layers that are trained where that is found to pay on this run; say so, or why not.

    Found on the epoch's first batches, which leave nothing behind. The top layer is left out: where it ends differs
    from batch to batch.
    """
    if not settings.COMPILE_LAYERS:
        return
    layers = encoder_layers(model.encoder)[model.frozen_layers():-1]
    why_not = "each process would decide for itself" if team.size > 1 else \
        "DETERMINISTIC asks for the same figures each time, whichever way is faster" if settings.DETERMINISTIC else \
        "below the top no layer is trained" if not len(layers) else ""
    if not why_not:
        states, buffers = random_states(), [one.clone() for one in model.buffers()]
        batches = list(itertools.islice(loader, COMPILE_BATCHES))
        pays, told = try_compiled(model, layers, batches, precision, len(loader) * settings.NUM_EPOCHS)
        why_not = "" if pays else told
        model.zero_grad()
        for buffer, before in zip(model.buffers(), buffers):
            buffer.copy_(before)
        restore_random_states(states)
    say("compile", f"off: {why_not}" if why_not else f"{len(layers)} layers: {told}")


def try_compiled(model, layers, batches, precision, batches_planned):
    """(whether the layers stay compiled, the reason in words)."""
    try:
        seconds_of(model, batches, precision)
        plain = min(seconds_of(model, batches, precision) for _ in range(2))
        if plain * batches_planned < COMPILE_SECONDS:
            return False, f"it takes about a minute, and the training about {plain * batches_planned:.0f} s"
        began = time.perf_counter()
        for layer in layers:
            layer.compile(dynamic=True)
        seconds_of(model, batches, precision)
        with torch.no_grad():           # validation has a version of its own
            logits_of(model.eval(), batches[0], precision)
        took = time.perf_counter() - began
        compiled = min(seconds_of(model, batches, precision) for _ in range(2))
        pays = compiled < (1 - COMPILE_GAIN) * plain
        told = f"{compiled * 1e3:.1f} ms a batch instead of {plain * 1e3:.1f}, after {took:.0f} s of compiling"
    except Exception as error:          # no compiler, or too little memory: training says what to do then
        pays, told = False, (str(error).strip() or type(error).__name__).splitlines()[0]
    if not pays:
        for layer in layers:
            layer._compiled_call_impl = None        # torch has no other way back
    return pays, told


def seconds_of(model, batches, precision):
    """Mean time of a batch, forward and backward."""
    model.train()
    began = time.perf_counter()
    for batch in batches:
        logits_of(model, batch, precision).sum().backward()
    if precision.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / len(batches)


def memory_bytes():
    """Of the machine; 8 GB where the system does not say."""
    if not hasattr(os, "sysconf"):
        return 8e9
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# What can go wrong on the way, for people

def disk_problem(error):
    """The system's word for what was wrong with a write."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error).rpartition(": ")[2]


def what_is_kept(run):
    """Which of the run's results can be used."""
    best = run.progress.best
    states = sorted((run.folder / "state").glob("*.sha256"))
    kept = [f"the best model so far is epoch {best['epoch']}'s in {run.folder / 'best'}"] if best else []
    kept += [f"the last whole state is {states[-1].stem.replace('-', ' ')}"] if states else []
    return "; ".join(kept) or "nothing was saved yet"


def rows_told(run, rows):
    """Where in the table the rows of a batch stand."""
    lines = sorted(run.training.lines[row] for row in rows)
    shown = ", ".join(f"{line}" for line in lines[:256]) + (", ..." if len(lines) > 256 else "")
    return f"its rows end on these lines of {run.training.path}: {shown}"


def out_of_memory(error):
    """The CPU's allocator has no exception class of its own."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def memory_advice(error, settings):
    """What was asked, what was there, and the constants that need less and step alike."""
    batch, accumulation = settings.BATCH_SIZE, settings.GRADIENT_ACCUMULATION_STEPS
    fewest = 2 if settings.HEAD == "batchnorm" else 1
    size = next((size for size in range(batch // 2, fewest - 1, -1) if batch % size == 0), None)
    advice = "a smaller MAX_LENGTH needs less memory"
    if size:
        advice = f"BATCH_SIZE={size} with GRADIENT_ACCUMULATION_STEPS={accumulation * batch // size} makes steps of " \
                 "as many rows with less memory"
    said = " ".join(str(error).split()) or "the system gave no more memory"
    asked = ". ".join(re.sub(r"^\[.*?\] ", "", said).split(". ")[:3])
    return f"out of memory: {asked.rstrip('.')}. {advice}"


def command_to_resume(folder, arguments):
    kept = [one for one in arguments if one.removeprefix("--").partition("=")[0] not in ("RESUME", "OUTPUT_DIR")]
    return shlex.join(["python", sys.argv[0], *kept, f"--OUTPUT_DIR={folder}", "--RESUME=True"])


@dataclass
class Run:
    """A run's parts, from the rows to the scaler, and how far it is."""
    settings: SimpleNamespace
    folder: Path
    lock: FileLock | None           # None until the folder is made
    precision: Precision
    names: list[str]                # of the classes
    training: Table
    validation: Table
    labels: numpy.ndarray           # of the validation rows
    overlap: Overlap
    warning: str                    # for every score where training and validation overlap
    baseline: Baseline
    team: Team
    model: BertSentimentClassifier
    wrapped: nn.Module              # the model, or what keeps those of several processes alike
    loaders: tuple                  # of training, of validation
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    steps: int                      # planned
    scaler: torch.amp.GradScaler
    loss_weights: torch.Tensor | None
    data_sha256: dict
    facts: dict                     # for config.json
    progress: Progress
    synonyms: dict                  # for AUGMENT
    averaged: AveragedModel | None  # the weights' mean over the last ENSEMBLE epochs


def prepare(settings, team):
    """Everything that is needed before the first step, said as it is made."""
    if settings.ENSEMBLE and team.size > 1:
        raise SettingError(f"ENSEMBLE is {settings.ENSEMBLE}, which takes one process; there are {team.size}")
    folder, lock = choose_run_folder(settings.OUTPUT_DIR, settings.RESUME) if team.rank == 0 else (None, None)
    folder = told_by_the_first(team, folder)
    if settings.DETERMINISTIC:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")     # read when CUDA starts
        torch.use_deterministic_algorithms(True)
    transformers.set_seed(settings.SEED)
    precision = choose_precision(settings.ENABLE_FP16)
    training, validation, whole = read_tables(settings)
    names, dropped = class_names(whole.labels), dict(whole.dropped)
    shared, warning = say_split(settings, training, validation, whole)
    del whole
    training_labels, validation_labels = class_numbers(training, names), class_numbers(validation, names)
    baseline = measure_baseline(training, validation, names, training_labels, validation_labels, settings.SEED)
    shares = Counter(training.labels)
    say("classes", ", ".join(f"{name} {shares[name] / len(training):.1%}" for name in names))
    say("guessing", f"loss {baseline.loss:.4f} by class frequency, accuracy {baseline.accuracy:.3f} "
                    f"by always saying {baseline.largest_class}")

    if len(training) < 2 * team.size:
        raise SettingError(f"{len(training)} rows to train on are too few for {team.size} processes")
    model = load_model(settings, names, precision, team)
    training_set = encode(training.texts, training_labels, model.tokenizer, settings.MAX_LENGTH)
    validation_set = encode(validation.texts, validation_labels, model.tokenizer, settings.MAX_LENGTH)
    loaders = make_loaders(settings, training_set, validation_set, model.tokenizer.pad_token_id or 0, precision.device,
                           team)
    cache_bottom(settings, model, (training_set, validation_set), precision, folder, team)
    compile_layers(settings, model, loaders[0], precision, team)
    steps_per_epoch, steps = count_steps(len(loaders[0]), settings.GRADIENT_ACCUMULATION_STEPS, settings.NUM_EPOCHS)
    optimizer = make_optimizer(model, settings.LEARNING_RATE, settings.WEIGHT_DECAY, settings.LAYER_LR_DECAY,
                               settings.HEAD_LEARNING_RATE)
    schedule = make_schedule(optimizer, steps, settings.WARMUP_RATIO)
    say_plan(settings, lambda step: settings.LEARNING_RATE * schedule.lr_lambdas[0](step), steps_per_epoch, steps,
             loaders[0].batch_sampler)
    say_look(model, optimizer, schedule, steps_per_epoch, settings, training.texts, training_set, validation_set)
    if team.rank:       # the head's first weights are the same, the dropout is not
        torch.manual_seed(settings.SEED + team.rank)
    if not settings.AUGMENT:
        training = Table(training.path, lines=training.lines)   # nothing reads the texts again
    return Run(
        settings, folder, lock, precision, names, training, validation, validation_labels, shared, warning, baseline,
        team, model, with_team(model, team), loaders, optimizer, schedule, steps, precision.scaler(),
        class_loss_weights(training_labels, len(names), precision.device) if settings.CLASS_WEIGHTS else None,
        {"TRAIN_PATH": file_sha256(settings.TRAIN_PATH), "rows": rows_sha256(training_set, validation_set),
         "VAL_PATH": file_sha256(settings.VAL_PATH) if settings.VAL_PATH else ""},
        {"encoder": model.encoder_name, "device": str(precision.device), "precision": precision.reason.split()[0],
         "label_names": names, "training_rows": len(training), "validation_rows": len(validation),
         "processes": team.size, "dropped": dropped, "optimizer_steps": steps,
         "trainable_parameters": model.trainable_parameters(),
         "validation_texts_in_training": shared.texts, "validation_groups_in_training": shared.groups,
         "baseline": vars(baseline)},
        Progress(), read_synonyms(settings.SYNONYMS_PATH) if "synonyms" in settings.AUGMENT else {},
        AveragedModel(model) if settings.ENSEMBLE else None)


def make_folder(run):
    """Make the run's folder, lock it and say in it what the run is; nothing where it has one already."""
    if run.team.rank:
        return
    while run.lock is None:
        try:
            run.folder.mkdir(parents=True)
        except FileExistsError:         # another run was quicker
            run.folder, _ = choose_run_folder(run.settings.OUTPUT_DIR, resume=False)
            continue
        run.lock = lock_folder(run.folder)
    if not (run.folder / "config.json").exists():
        write_config(run.folder, run.settings, run.facts)


def after_step(run, interruption, watch):
    """Save where it is time for it; leave where the user wants to."""
    run.progress.step += 1
    interruption.signal = all_agree(run.team, interruption.signal or 0) or None
    interruption.check()
    if run.settings.SAVE_EVERY and run.progress.step % run.settings.SAVE_EVERY == 0:
        watch.look()
        make_folder(run)
        save_state(run)


def augment_training(run):
    """Put this epoch's changed texts in the place of the training texts, where AUGMENT asks for it."""
    settings, loader = run.settings, run.loaders[0]
    if not settings.AUGMENT:
        return
    texts = augmented(run.training.texts, settings.AUGMENT.split(","), settings.AUGMENT_SHARE, run.synonyms,
                      settings.SEED, run.progress.epoch)
    rows = encode(texts, loader.dataset.labels, run.model.tokenizer, settings.MAX_LENGTH)
    loader.dataset.ids, loader.dataset.starts = rows.ids, rows.starts
    loader.batch_sampler.lengths = rows.lengths()


def finish_epoch(run, seen, logits, val_loss):
    """Note an epoch's figures, keep its model if it is the best, write the results and the state."""
    progress, settings = run.progress, run.settings
    probabilities = logits.softmax(dim=1).numpy()
    progress.history.append(epoch_figures(progress.epoch, seen, val_loss, probabilities.argmax(axis=1), run.labels)
                            | {"encoder": run.model.encoder_name, "inflated": bool(run.warning)})
    say_epoch(progress.history, run.baseline, run.warning)
    make_folder(run)
    first = run.team.rank == 0
    if progress.best is None or progress.history[-1]["val_macro_f1"] > progress.best["val_macro_f1"]:
        progress.best = progress.history[-1] | {"probabilities": probabilities}
        if first:
            run.model.save_pretrained(run.folder / "best")
    if settings.ENSEMBLE:
        keep_for_ensemble(run, probabilities)
    if first:
        write_results(run)
    stopped = 0 < settings.EARLY_STOPPING_PATIENCE <= progress.epoch - progress.best["epoch"]
    if stopped:
        say("", f"stopped early: no better macro-F1 in {settings.EARLY_STOPPING_PATIENCE} epochs")
    progress.finished = stopped or progress.epoch == settings.NUM_EPOCHS
    progress.epoch, progress.tally = progress.epoch + 1, None
    save_state(run)


def keep_for_ensemble(run, probabilities):
    """Keep model and probabilities of the ENSEMBLE best epochs, and average the weights of as many last ones."""
    progress, folder = run.progress, run.folder / "ensemble"
    progress.ensemble.append({"epoch": progress.epoch, "val_macro_f1": progress.history[-1]["val_macro_f1"],
                              "probabilities": probabilities})
    progress.ensemble.sort(key=lambda one: -one["val_macro_f1"])
    dropped = progress.ensemble[run.settings.ENSEMBLE:]
    del progress.ensemble[run.settings.ENSEMBLE:]
    if not dropped or dropped[0]["epoch"] != progress.epoch:
        run.model.save_pretrained(folder / f"epoch-{progress.epoch}")
    for one in dropped:
        shutil.rmtree(folder / f"epoch-{one['epoch']}", ignore_errors=True)
    if progress.epoch > run.settings.NUM_EPOCHS - run.settings.ENSEMBLE:
        run.averaged.update_parameters(run.model)


class OnBatches(nn.Module):
    """A model that takes a whole batch, as update_bn calls it."""

    def __init__(self, model, precision):
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, batch):
        return logits_of(self.model, batch, self.precision)


def say_ensemble(run):
    """The scores of the two averages, on the screen and in ensemble.json, and where the models to them lie."""
    scores = {}

    def note(what, shown, probabilities, where):
        predictions = probabilities.argmax(axis=1)
        scores[what] = {"accuracy": accuracy_score(run.labels, predictions),
                        "macro_f1": f1_score(run.labels, predictions, average="macro", zero_division=0)}
        print(f"{'':<11}{shown:<32}{scores[what]['accuracy']:>9.3f}{scores[what]['macro_f1']:>10.3f}   {where}")

    epochs = ", ".join(str(one["epoch"]) for one in run.progress.ensemble)
    note("probabilities", f"probabilities, epochs {epochs}",
         numpy.mean([one["probabilities"] for one in run.progress.ensemble], axis=0), run.folder / "ensemble")
    averaged = int(run.averaged.n_averaged)
    if averaged:        # none where the run stopped early
        loader, validation_loader = run.loaders
        loader.batch_sampler.skipped = 0
        update_bn(loader, OnBatches(run.averaged.module, run.precision))     # statistics of the mean weights
        logits, _ = evaluate(run.averaged.module, validation_loader, run.precision)
        run.averaged.module.save_pretrained(run.folder / "averaged")
        note("weights", f"weights, last {averaged} epochs", logits.softmax(dim=1).numpy(), run.folder / "averaged")
    write_whole(run.folder / "ensemble.json", json.dumps(scores, indent=2) + "\n")


def train_epochs(run):
    """Train to the end; returns the number of the signal that ended it before, or None."""
    settings, progress = run.settings, run.progress
    loader, validation_loader = run.loaders
    with Interruption() as interruption:
        try:
            first, last = progress.epoch, settings.NUM_EPOCHS
            for epoch in range(first, last + 1):
                if progress.finished:
                    break
                progress.tally = progress.tally or new_tally(run.precision.device)
                loader.batch_sampler.epoch, loader.batch_sampler.skipped = epoch, progress.tally.batches
                augment_training(run)
                seen = train_epoch(
                    run.wrapped, loader, run.optimizer, run.schedule, run.scaler, run.precision, run.loss_weights,
                    settings.GRADIENT_ACCUMULATION_STEPS, settings.MAX_GRAD_NORM,
                    f"epoch {epoch}/{last}", progress.tally,
                    lambda watch: after_step(run, interruption, watch), settings.LABEL_SMOOTHING, run.team)
                share_statistics(run.model, run.team)
                finish_epoch(run, seen, *evaluate(
                    run.model, validation_loader, run.precision,
                    interruption.check if run.team.size == 1 else lambda: None, run.team))   # they leave at a step only
        except Interrupted:
            make_folder(run)
            save_state(run)
        return interruption.signal if not progress.finished else None


def train(settings, arguments, command="", team=ALONE):
    """One run from the tables to the scores; returns the exit status.

    An interrupted run names the command that goes on with it: the one given, else made from the arguments.

    Raises:
        RunError: it ended before its end for a reason that the message names.
    """
    began = time.perf_counter()
    run = prepare(settings, team)
    if settings.RESUME:
        resume(run)
    if run.precision.device.type == "cpu":
        keep_freed_memory()
    try:
        interrupted = train_epochs(run)
    except NumbersGoneWrong as error:
        raise RunError(f"epoch {run.progress.epoch}: {error}; {rows_told(run, error.rows)}; {what_is_kept(run)}") \
            from None
    except (OSError, SafetensorError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise RunError(f"{run.folder} cannot be written: {disk_problem(error)}; {what_is_kept(run)}") from None
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise RunError(memory_advice(error, settings)) from None
    if interrupted and team.rank == 0:
        print(f"interrupted after {run.progress.step:,} optimizer steps; this goes on from there:\n"
              f"{command or command_to_resume(run.folder, arguments)}", file=sys.stderr)
    if interrupted:
        return 128 + interrupted
    progress = run.progress
    report, matrix = classes_told(run.names, run.labels, progress.best["probabilities"].argmax(axis=1))
    print(f"\n{report}\n{matrix}" if len(run.names) <= SHOWN_CLASSES else
          f"\n{len(run.names)} classes: their scores are in {run.folder / 'classification_report.txt'}\n")
    say_summary(progress.best, len(progress.history), run.baseline, len(run.validation), run.model.encoder_name,
                run.warning)
    if settings.ENSEMBLE:
        say_ensemble(run)
    say("time", f"{time.perf_counter() - began:.0f} s in all")
    say("results", f"{run.folder}, for people in {run.folder / 'report.html'}")
    say("next", f"BertSentimentClassifier.from_pretrained({str(run.folder / 'best')!r}).predict([\"...\"])")
    return 0


# Trials

def run_trials(trials, arguments):
    """One run for each trial that is not finished yet, then a table of all; returns the exit status."""
    base = read_settings(arguments)
    given = [one for one in arguments if one.removeprefix("--").partition("=")[0] not in
             ("RUN_TRIALS", "OUTPUT_DIR", "RESUME")]
    command = shlex.join(["python", sys.argv[0], *given, f"--OUTPUT_DIR={base.OUTPUT_DIR}", "--RUN_TRIALS=True"])
    results = []
    for number, trial in enumerate(trials, start=1):
        folder = Path(f"{base.OUTPUT_DIR}-trials") / (trial.replace("/", "_") or "as it stands")
        settings = read_settings([*given, *(f"--{one}" for one in trial.split()), f"--OUTPUT_DIR={folder}",
                                  "--RESUME=True", "--RUN_TRIALS=False"])
        say("trial", f"{number} of {len(trials)}: {trial or 'the constants as they stand'}")
        result = finished_trial(folder, settings)
        if result is None:
            try:
                status = train(settings, arguments, command)
                if status:
                    return status
                result = trial_result(folder, settings)
            except RunError as error:       # the other trials may do better
                result = {"failed": str(error)}
            print()
        results.append((trial, result))
    say_trials(results)
    return 0


def trial_result(folder, settings):
    """What a finished trial came to; kept in its folder, with the constants that it was made with."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    result = {"constants": vars(settings), "best": max(epochs, key=lambda epoch: epoch["val_macro_f1"]),
              "baseline": config["baseline"], "rows": config["validation_rows"], "encoder": config["encoder"],
              "seconds": sum(epoch["seconds"] for epoch in epochs)}
    write_whole(folder / "trial.json", json.dumps(result, indent=2) + "\n")
    return result


def finished_trial(folder, settings):
    """The result of a trial that was finished before with the same constants, or None."""
    try:
        result = json.loads((folder / "trial.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return result if result["constants"] == vars(settings) else None


def say_trials(results):
    """The trials by macro-F1, the best first, and the baselines."""
    done = [(trial, result) for trial, result in results if "best" in result]
    print(f"{'trial':<32}{'epoch':>7}{'accuracy':>10}{'macro-F1':>10}{'seconds':>9}")
    for trial, result in sorted(done, key=lambda one: -one[1]["best"]["val_macro_f1"]):
        best = result["best"]
        print(f"{trial or 'as it stands':<32}{best['epoch']:>7}{best['val_acc']:>10.3f}{best['val_macro_f1']:>10.3f}"
              f"{result['seconds']:>9.0f}")
    if done:
        baseline, rows = done[0][1]["baseline"], done[0][1]["rows"]
        linear_model = baseline.get("linear_model", Baseline.linear_model)
        print(f"{linear_model:<39}{baseline['linear_accuracy']:>10.3f}{baseline['linear_macro_f1']:>10.3f}")
        print(f"{'always ' + baseline['largest_class']:<39}{baseline['accuracy']:>10.3f}")
        print(f"{done[0][1]['encoder']}; one seed, {rows:,} validation rows: accuracies within "
              f"{1.96 * math.sqrt(0.5 / rows):.3f} of each other are alike")
    for trial, result in results:
        if "failed" in result:
            print(f"{trial or 'as it stands':<32}failed: {result['failed']}")


def main(arguments):
    if "--help" in arguments or "-h" in arguments:
        print(help_text(__file__, read_constants(__file__), __doc__))
        return 0
    team = join_team()
    try:
        settings = read_settings(arguments)
        if not settings.RUN_TRIALS:
            return train(settings, arguments, team=team)
        if team.size > 1:
            raise SettingError(f"RUN_TRIALS takes one process; there are {team.size}")
        return run_trials(TRIALS, arguments)
    except (ConstantError, SettingError, TableError, EncoderError) as error:
        if team.rank == 0:      # the others have the same to say
            print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:       # later ones are noted by Interruption
        print("interrupted before the first step", file=sys.stderr)
        return 130
    finally:
        leave_team(team)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")       # a label that the terminal cannot show is no error
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:     # whoever read the screen has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)
