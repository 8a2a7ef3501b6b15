"""Fine-tune a BERT-family encoder on a table of labelled texts, and say what the scores are worth.

    python BERT_main_aggressive.py                                  the sample in data/
    python BERT_main_aggressive.py --TRAIN_PATH=posts.csv           your own table; data/README.md says which formats
    python BERT_main_aggressive.py --FREEZE_STRATEGY=half           any constant below, by its name
    python BERT_main_aggressive.py --help                           all of them

Edit the constants or give them on the command line. The run ends with its scores beside those of guessing and of a
linear model, and leaves the best model, its figures and the constants used in a folder below runs/.
The sample with the constants as they stand: accuracy 0.712 and macro-F1 0.726 on 250 rows after five epochs, where a
linear model has 0.676 and always saying Negative 0.296 (embedded encoder, two CPU cores, three minutes, torch 2.13.0).
Does it not learn? `python diagnose_bert.py` takes the same constants and names the cause.
"""

import json
import math
import os
import platform
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy
import sklearn
import torch
import transformers
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, f1_score
from sklearn.svm import LinearSVC
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm.auto import tqdm

from BERT_model_aggressive import (FREEZE_STRATEGIES, HEADS, BertSentimentClassifier, EncoderError, find_encoder,
                                   load_encoder)
from data.tables import TableError, class_names, class_numbers, overlap, read_table, sample_rows, split_table
from diagnosis.constants import ConstantError, help_text, override, read_constants
from diagnosis.look import look, told

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

# training
BATCH_SIZE = 32                     # texts per forward pass
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

# output
OUTPUT_DIR = "runs/aggressive"      # results go here, or where this exists to runs/aggressive-2, -3, ...


class SettingError(ValueError):
    """A constant whose value cannot be used; the message is one line for people."""


# Settings

def read_settings(arguments):
    """The constants above, as the arguments change them, checked."""
    constants = read_constants(__file__)
    settings = SimpleNamespace(**{one.name: one.value for one in constants} | override(constants, arguments))
    for name, known in (("FREEZE_STRATEGY", FREEZE_STRATEGIES), ("HEAD", HEADS)):
        if getattr(settings, name) not in known:
            raise SettingError(f"{name} is {getattr(settings, name)!r}; it can be {', '.join(known)}")
    for name, low, high in (
            ("BATCH_SIZE", 2 if settings.HEAD == "batchnorm" else 1, math.inf), ("GRADIENT_ACCUMULATION_STEPS", 1, math.inf),
            ("NUM_EPOCHS", 1, math.inf), ("MAX_LENGTH", 3, math.inf), ("MAX_TRAIN_ROWS", 0, math.inf),
            ("EARLY_STOPPING_PATIENCE", 0, math.inf), ("LEARNING_RATE", 0, 1), ("WARMUP_RATIO", 0, 1), ("DROPOUT", 0, 0.99),
            ("WEIGHT_DECAY", 0, math.inf), ("MAX_GRAD_NORM", 0, math.inf), ("SEED", 0, 2**32 - 1),
            ("VALIDATION_SHARE", 0.01, 0.5), ("POOL_BATCHES", 1, math.inf)):
        value = getattr(settings, name)
        if not low <= value <= high:
            limit = f"at least {low}" if value < low else f"at most {high}"
            hint = " (BatchNorm needs two rows; HEAD=linear does not)" if name == "BATCH_SIZE" and low == 2 else ""
            raise SettingError(f"{name} is {value}; it must be {limit}{hint}")
    return settings


def choose_run_folder(wanted):
    """The folder of this run: the one wanted, or with a number behind it where that exists; made when there are results."""
    folder, number = Path(wanted), 1
    while folder.exists():
        number += 1
        folder = Path(f"{wanted}-{number}")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise SettingError(f"OUTPUT_DIR {wanted!r} cannot be made: {above} is no folder that can be written to; "
                           "name another")
    return folder


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


@dataclass
class Encoded(Dataset):
    """Tokenized texts, end to end in one array: the ids of row i are ids[starts[i]:starts[i + 1]]."""
    ids: numpy.ndarray          # int32
    starts: numpy.ndarray       # int64, rows + 1
    labels: numpy.ndarray       # int64

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return row, self.ids[self.starts[row]:self.starts[row + 1]], self.labels[row]

    def lengths(self):
        return numpy.diff(self.starts)


def encode(texts, labels, tokenizer, max_length, chunk=4096):
    """Tokenize once, with the special tokens, cut at max_length."""
    ids, lengths = [], []
    for start in tqdm(range(0, len(texts), chunk), "tokenize", leave=False, disable=None):
        rows = tokenizer(texts[start:start + chunk], truncation=True, max_length=max_length,
                         return_attention_mask=False, return_token_type_ids=False)["input_ids"]
        lengths += map(len, rows)
        ids.append(numpy.concatenate([numpy.asarray(row, dtype=numpy.int32) for row in rows]))
    return Encoded(numpy.concatenate(ids), numpy.cumsum([0] + lengths), labels)


class LikeLengthBatches(Sampler):
    """Batches of rows of like length: shuffled, cut into pools, sorted within a pool, the batches shuffled again.

    Texts that share a batch then need little padding, and the order stays random. A rest shorter than a quarter of
    a batch is merged into the last batch of its pool, so that BatchNorm has rows to take its statistics from.
    """

    def __init__(self, lengths, batch_size, pool_batches, seed):
        self.lengths, self.batch_size, self.pool = lengths, batch_size, batch_size * pool_batches
        self.seed, self.epoch = seed, 0
        whole, rest = divmod(len(lengths), batch_size)
        self.merged = rest if whole and rest and 4 * rest < batch_size else 0
        self.count = whole + (rest > self.merged)

    def __len__(self):
        return self.count

    def __iter__(self):
        """The batches of the epoch set in self.epoch: the same for the same seed, rows and epoch."""
        random = numpy.random.default_rng([self.seed, self.epoch])
        order = random.permutation(len(self.lengths))
        batches = []
        for start in range(0, len(order), self.pool):
            pool = order[start:start + self.pool]
            pool = pool[numpy.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[at:at + self.batch_size] for at in range(0, len(pool), self.batch_size)]
        if self.merged:
            rest = batches.pop()
            batches[-1] = numpy.concatenate([batches[-1], rest])
        return (batches[at].tolist() for at in random.permutation(len(batches)))


def padded(rows, pad_id):
    """One batch of tensors: row numbers, ids and mask [rows, longest], labels."""
    numbers, ids, labels = zip(*rows)
    width = max(map(len, ids))
    input_ids = numpy.full((len(ids), width), pad_id, dtype=numpy.int64)
    attention_mask = numpy.zeros((len(ids), width), dtype=numpy.int64)
    for row, tokens in enumerate(ids):
        input_ids[row, :len(tokens)] = tokens
        attention_mask[row, :len(tokens)] = 1
    return {"rows": torch.tensor(numbers), "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(attention_mask), "labels": torch.tensor(numpy.array(labels))}


def make_loaders(settings, training, validation, pad_id, device):
    """(training loader, validation loader); the latter goes through the rows by length."""
    def collate(rows):
        return padded(rows, pad_id)

    batches = LikeLengthBatches(training.lengths(), settings.BATCH_SIZE, settings.POOL_BATCHES, settings.SEED)
    by_length = numpy.argsort(validation.lengths(), kind="stable").tolist()
    pin = device.type == "cuda"
    return (DataLoader(training, batch_sampler=batches, collate_fn=collate, pin_memory=pin),
            DataLoader(validation, batch_size=settings.BATCH_SIZE, sampler=by_length, collate_fn=collate, pin_memory=pin))


# Baselines: what any score has to be held against

@dataclass
class Baseline:
    """What needs no encoder, measured on the same rows."""
    loss: float             # of giving each class its training share as probability
    accuracy: float         # of always naming the largest class of training
    largest_class: str
    linear_accuracy: float  # LinearSVC over TF-IDF
    linear_macro_f1: float


def measure_baseline(training, validation, names, training_labels, validation_labels):
    """Guessing, and a linear model over TF-IDF, both fitted on the training rows."""
    shares = numpy.bincount(training_labels, minlength=len(names)) / len(training_labels)
    vectors = TfidfVectorizer()
    try:
        model = LinearSVC(random_state=0).fit(vectors.fit_transform(training.texts), training_labels)
        linear = model.predict(vectors.transform(validation.texts))
    except ValueError:      # no word in any text: the linear model has nothing to see and guesses
        linear = numpy.full_like(validation_labels, shares.argmax())
    with numpy.errstate(divide="ignore"):
        return Baseline(float(-numpy.log(shares)[validation_labels].mean()),
                        float((validation_labels == shares.argmax()).mean()), names[shares.argmax()],
                        accuracy_score(validation_labels, linear),
                        f1_score(validation_labels, linear, average="macro", zero_division=0))


# Optimization

def make_optimizer(model, learning_rate, weight_decay):
    """AdamW over the trainable parameters; biases and norms, which have one dimension, are not decayed."""
    trainable = [one for one in model.parameters() if one.requires_grad]
    groups = [{"params": [one for one in trainable if one.dim() > 1], "weight_decay": weight_decay},
              {"params": [one for one in trainable if one.dim() <= 1], "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate)


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

def train_epoch(model, loader, optimizer, schedule, scaler, precision, loss_weights=None, accumulation=1,
                max_grad_norm=1.0, title="train"):
    """One pass over the loader.

    Returns:
        loss (plain cross-entropy, whatever the class weights) and accuracy of the training rows as the weights stood
        when each was seen, the last learning rate, steps skipped by the scaler, rows, real tokens, positions, seconds.
    """
    model.train()
    began = time.perf_counter()
    loss_sum, correct, tokens = (torch.zeros((), device=precision.device) for _ in range(3))
    rows = positions = skipped = 0
    rate = 0.0
    optimizer.zero_grad()
    for index, batch in enumerate(tqdm(loader, title, leave=False, disable=None)):
        in_group = min(accumulation, len(loader) - index // accumulation * accumulation)
        batch = {name: tensor.to(precision.device, non_blocking=True) for name, tensor in batch.items()}
        with precision.autocast():
            logits = model(batch["input_ids"], batch["attention_mask"])
        logits, labels = logits.float(), batch["labels"]
        loss = cross_entropy(logits, labels, weight=loss_weights)
        scaler.scale(loss / in_group).backward()
        if (index + 1) % accumulation == 0 or index + 1 == len(loader):
            rate = optimizer.param_groups[0]["lr"]
            skipped += not take_step(model, optimizer, schedule, scaler, max_grad_norm)
        with torch.no_grad():
            plain = loss if loss_weights is None else cross_entropy(logits, labels)
            loss_sum += plain.detach() * len(labels)
            correct += (logits.argmax(dim=1) == labels).sum()
            tokens += batch["attention_mask"].sum()
        rows += len(labels)
        positions += batch["input_ids"].numel()
    return {"loss": loss_sum.item() / rows, "accuracy": correct.item() / rows, "rate": rate, "skipped": skipped,
            "rows": rows, "tokens": tokens.item(), "positions": positions, "seconds": time.perf_counter() - began}


def take_step(model, optimizer, schedule, scaler, max_grad_norm):
    """Unscale, clip, step, update, schedule, zero. False where the scaler skipped the step: then the schedule waits."""
    scaler.unscale_(optimizer)
    if max_grad_norm > 0:
        nn.utils.clip_grad_norm_([one for one in model.parameters() if one.requires_grad], max_grad_norm)
    scale = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    stepped = scaler.get_scale() >= scale       # the scaler lowers its factor exactly when it skips
    if stepped:
        schedule.step()
    optimizer.zero_grad()
    return stepped


@torch.no_grad()
def evaluate(model, loader, precision):
    """Logits [rows, classes] and mean cross-entropy of the loader's rows, in the order of their row numbers."""
    model.eval()
    logits, rows, labels = [], [], []
    for batch in tqdm(loader, "validate", leave=False, disable=None):
        batch = {name: tensor.to(precision.device, non_blocking=True) for name, tensor in batch.items()}
        with precision.autocast():
            logits.append(model(batch["input_ids"], batch["attention_mask"]).float())
        rows.append(batch["rows"])
        labels.append(batch["labels"])
    order = torch.cat(rows).argsort()
    logits, labels = torch.cat(logits)[order], torch.cat(labels)[order]
    return logits.cpu(), cross_entropy(logits, labels).item()


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


def write_results(folder, history, best, names, validation_labels, warning):
    """metrics.jsonl, and the best epoch's report and confusion matrix; returns these two as text."""
    with open(folder / "metrics.jsonl", "w", encoding="utf-8") as file:
        for epoch in history:
            file.write(json.dumps(epoch) + "\n")
    numbers = range(len(names))
    report = classification_report(validation_labels, best["predictions"], labels=numbers, target_names=names, digits=3,
                                   zero_division=0)
    matrix = confusion_matrix(validation_labels, best["predictions"], labels=numbers)
    width = max(8, *(len(name) + 2 for name in names))
    lines = ["true \\ predicted".ljust(20) + "".join(name.rjust(width) for name in names)]
    lines += [name.ljust(20) + "".join(f"{count:>{width}}" for count in row) for name, row in zip(names, matrix)]
    table = "\n".join(lines) + "\n"
    note = f"epoch {best['epoch']}, {best['encoder']}" + (f"; {warning}" if warning else "") + "\n\n"
    (folder / "classification_report.txt").write_text(note + report, "utf-8")
    (folder / "confusion_matrix.txt").write_text(note + table, "utf-8")
    return report, table


def write_config(folder, settings, facts):
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__,
                "transformers": transformers.__version__, "scikit-learn": sklearn.__version__}
    config = {"constants": vars(settings), **facts, "versions": versions}
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")


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
    judgement = look(model, model.encoder, optimizer, schedule, steps_per_epoch, settings.NUM_EPOCHS, model.tokenizer,
                     [ids for _, ids, _ in training], training.labels, [ids for _, ids, _ in validation],
                     validation.labels, settings.BATCH_SIZE, settings.MAX_LENGTH, list(map(len, sample)), __file__)
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


def say_summary(best, epochs, baseline, rows, encoder_name, warning, folder, seconds):
    """The last lines on the screen: the score beside its baselines, and where everything lies."""
    margin = 1.96 * math.sqrt(best["val_acc"] * (1 - best["val_acc"]) / rows)
    inflated = f"   {warning}" if warning else ""
    say("best", f"epoch {best['epoch']} of {epochs}, chosen by macro-F1 on these same {rows:,} rows; {encoder_name}")
    print(f"{'':<11}{'':<32}{'accuracy':>9}{'macro-F1':>10}")
    print(f"{'':<11}{'this model':<32}{best['val_acc']:>9.3f}{best['val_macro_f1']:>10.3f}   "
          f"accuracy ± {margin:.3f} (95 %, from {rows:,} rows){inflated}")
    print(f"{'':<11}{'LinearSVC over TF-IDF':<32}{baseline.linear_accuracy:>9.3f}{baseline.linear_macro_f1:>10.3f}{inflated}")
    print(f"{'':<11}{'always ' + baseline.largest_class:<32}{baseline.accuracy:>9.3f}")
    say("time", f"{seconds:.0f} s in all")
    say("results", f"{folder}")
    say("next", f"BertSentimentClassifier.from_pretrained({str(folder / 'best')!r}).predict([\"...\"])")


# The run

def load_model(settings, names, precision):
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
    for line, text in enumerate(model.parameter_table().splitlines()):
        say("parameters" if line == 0 else "", text)
    return model


def train(settings):
    began = time.perf_counter()
    folder = choose_run_folder(settings.OUTPUT_DIR)
    transformers.set_seed(settings.SEED)
    precision = choose_precision(settings.ENABLE_FP16)
    training, validation, whole = read_tables(settings)
    names = class_names(whole.labels)
    shared, warning = say_split(settings, training, validation, whole)
    training_labels, validation_labels = class_numbers(training, names), class_numbers(validation, names)
    baseline = measure_baseline(training, validation, names, training_labels, validation_labels)
    shares = Counter(training.labels)
    say("classes", ", ".join(f"{name} {shares[name] / len(training):.1%}" for name in names))
    say("guessing", f"loss {baseline.loss:.4f} by class frequency, accuracy {baseline.accuracy:.3f} "
                    f"by always saying {baseline.largest_class}")

    model = load_model(settings, names, precision)
    training_set = encode(training.texts, training_labels, model.tokenizer, settings.MAX_LENGTH)
    validation_set = encode(validation.texts, validation_labels, model.tokenizer, settings.MAX_LENGTH)
    loader, validation_loader = make_loaders(settings, training_set, validation_set, model.tokenizer.pad_token_id or 0,
                                             precision.device)
    steps_per_epoch, steps = count_steps(len(loader), settings.GRADIENT_ACCUMULATION_STEPS, settings.NUM_EPOCHS)
    optimizer = make_optimizer(model, settings.LEARNING_RATE, settings.WEIGHT_DECAY)
    schedule = make_schedule(optimizer, steps, settings.WARMUP_RATIO)
    say_plan(settings, lambda step: settings.LEARNING_RATE * schedule.lr_lambdas[0](step), steps_per_epoch, steps,
             loader.batch_sampler)
    scaler = precision.scaler()
    loss_weights = class_loss_weights(training_labels, len(names), precision.device) if settings.CLASS_WEIGHTS else None
    say_look(model, optimizer, schedule, steps_per_epoch, settings, training.texts, training_set, validation_set)

    history, best = [], None
    for epoch in range(1, settings.NUM_EPOCHS + 1):
        loader.batch_sampler.epoch = epoch
        seen = train_epoch(model, loader, optimizer, schedule, scaler, precision, loss_weights,
                           settings.GRADIENT_ACCUMULATION_STEPS, settings.MAX_GRAD_NORM,
                           title=f"epoch {epoch}/{settings.NUM_EPOCHS}")
        logits, val_loss = evaluate(model, validation_loader, precision)
        predictions = logits.argmax(dim=1).numpy()
        history.append(epoch_figures(epoch, seen, val_loss, predictions, validation_labels)
                       | {"encoder": model.encoder_name, "inflated": bool(warning)})
        say_epoch(history, baseline, warning)
        if best is None or history[-1]["val_macro_f1"] > best["val_macro_f1"]:
            best = history[-1] | {"predictions": predictions}
            model.save_pretrained(folder / "best")
        if epoch == 1:
            write_config(folder, settings, {
                "encoder": model.encoder_name, "device": str(precision.device), "precision": precision.reason.split()[0],
                "label_names": names, "training_rows": len(training), "validation_rows": len(validation),
                "dropped": dict(whole.dropped), "optimizer_steps": steps,
                "trainable_parameters": model.trainable_parameters(), "validation_texts_in_training": shared.texts,
                "validation_groups_in_training": shared.groups, "baseline": vars(baseline)})
        report, matrix = write_results(folder, history, best, names, validation_labels, warning)
        if 0 < settings.EARLY_STOPPING_PATIENCE <= epoch - best["epoch"]:
            say("", f"stopped early: no better macro-F1 in {settings.EARLY_STOPPING_PATIENCE} epochs")
            break
    print(f"\n{report}\n{matrix}")
    say_summary(best, len(history), baseline, len(validation), model.encoder_name, warning, folder,
                time.perf_counter() - began)


def main(arguments):
    if "--help" in arguments or "-h" in arguments:
        print(help_text(__file__, read_constants(__file__), __doc__))
        return 0
    try:
        train(read_settings(arguments))
    except (ConstantError, SettingError, TableError, EncoderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
