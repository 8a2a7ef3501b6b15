"""How fast an encoder is trained: the same rows, the same weights, fed four ways in alternation.

    OMP_NUM_THREADS=1 python tests/benchmarks/throughput.py --TRAIN_PATH=...    any constant of BERT_main_aggressive.py
    python tests/benchmarks/throughput.py --rounds=3 --rows=1600 --encoder=models/mine
    python tests/benchmarks/throughput.py --only=grouped --rows=6400            the ways whose names match, and the script
    python tests/benchmarks/throughput.py --only=padded                         of the further ways too, named below
    python tests/benchmarks/throughput.py --size=bert-base                      that size, with random weights
    python tests/benchmarks/throughput.py --cache --FREEZE_STRATEGY=full        the script with CACHE_FROZEN_LAYERS and without

`naive` is the loop people write: every text tokenized when it is asked for, padded to MAX_LENGTH, the loss fetched at
each step. `trainer` is transformers' Trainer with its defaults, `trainer grouped` the same with rows of like length
together, `script` what BERT_main_aggressive.py does. The model is this script's in all four, so that only the feeding
differs, and all compute in the same precision: on a CPU with units for bfloat16 in that, as the Trainer does with
`bf16=True`; `naive fp32`, `trainer fp32` and `script fp32` are there too then, the same in float32. Further ways, for
--only: `script padded` runs like-length batches as padded rows and not end to end, `script compiled` has torch.compile
make its layers but the top one, `trainer flash` is the grouped one with flash attention, where the package flash-attn
is there. Each way trains on other rows first, which do not count, then one epoch of the counted rows; making loaders
and optimizers does not count, nor does tokenizing up front, whose seconds stand below the table.

Seconds are those of the processor where torch has one thread on a CPU, because other work on the machine changes them
least; elsewhere those of the wall, with the device waited for. The last column holds the arithmetic that the real
tokens need (padding counts as none) against the best rate of plain matrix products in the same precision, measured
before, between and after the rounds. The Trainer needs what tests/requirements.txt names.
"""

import argparse
import contextlib
import ctypes
import datetime
import gc
import math
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")      # the Trainer would share its batches among several
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import accelerate
import numpy
import torch
import transformers
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from transformers.utils import is_flash_attn_2_available

import BERT_main_aggressive as script
from BERT_model_aggressive import BertSentimentClassifier
from training.constants import ConstantError
from training.encoder.end_to_end import QUERY
from training.encoder.finding import EncoderError, embedded_encoder, encoder_layers, find_encoder, load_encoder
from training.encoder.frozen import frozen_layers, keep_bottom
from training.memory import M_MMAP_MAX, M_TRIM_THRESHOLD
from training.precision import choose_precision
from training.run.data import make_loaders, read_tables
from training.run.optimization import Learner, count_steps, make_optimizer, make_schedule
from training.run.process import compute_quickly
from training.run.team import ALONE
from training.settings import SettingError
from training.texts.batches import encode
from training.texts.refusal import TableError
from training.texts.tables import class_names, class_numbers

ROUNDS = 3
ROWS = 1600                 # rows trained on in each measurement
WARM_UP_STEPS = 20          # steps on other rows before each measurement, at most: memory is fetched in the first ones
BIG_PRODUCT = {"cuda": 8192, "cpu": 1024}       # sides of the square matrices multiplied for the highest rate
PRODUCTS = {"cuda": 20, "cpu": 1}               # products between two looks at the clock
M_MMAP_THRESHOLD = -3       # of <malloc.h>
TORCHS_PRODUCTS = torch.get_float32_matmul_precision()
PRODUCT_TRIES = 5           # the best of so many counts


def clock_name(device):
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return "seconds of the processor"
    return "seconds of the wall"


def clock(device):
    """Seconds, when all that the device was asked for is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.process_time() if clock_name(device).endswith("processor") else time.perf_counter()


# The ways: each trains one epoch on rows (texts and labels) and returns the seconds of its batches

class TextsAsAsked(Dataset):
    """Texts tokenized one by one, when they are asked for, each padded to the full length."""

    def __init__(self, texts, labels, tokenizer, max_length):
        self.texts, self.labels, self.tokenizer, self.max_length = texts, labels, tokenizer, max_length

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, row):
        encoded = self.tokenizer(self.texts[row], padding="max_length", truncation=True, max_length=self.max_length,
                                 return_tensors="pt")
        return {"input_ids": encoded["input_ids"].squeeze(0), "attention_mask": encoded["attention_mask"].squeeze(0),
                "labels": torch.tensor(self.labels[row])}


def naive(settings, model, rows, precision):
    """The plain loop."""
    dataset = TextsAsAsked(*rows, model.tokenizer, settings.MAX_LENGTH)
    loader = DataLoader(dataset, batch_size=settings.BATCH_SIZE, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.LEARNING_RATE)
    schedule = transformers.get_linear_schedule_with_warmup(
        optimizer, round(settings.WARMUP_RATIO * len(loader)), len(loader))
    scaler = precision.scaler()
    total = 0.0
    model.train()
    began = clock(precision.device)
    for batch in loader:
        ids, mask, labels = (batch[name].to(precision.device) for name in ("input_ids", "attention_mask", "labels"))
        optimizer.zero_grad()
        with precision.autocast():
            loss = cross_entropy(model(ids, mask), labels)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), settings.MAX_GRAD_NORM or math.inf)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        total += loss.item()
    return clock(precision.device) - began


class WithLoss(nn.Module):
    """A classifier as the Trainer calls it."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, input_ids, attention_mask, labels):
        logits = self.classifier(input_ids, attention_mask)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


class EpochSeconds(transformers.TrainerCallback):
    """The clock before the first batch and after the last."""

    def __init__(self, device):
        self.device = device

    def on_train_begin(self, arguments, state, control, **others):
        self.began = clock(self.device)

    def on_epoch_end(self, arguments, state, control, **others):
        self.seconds = clock(self.device) - self.began


def make_trainer(settings, model, rows, precision, folder, **arguments):
    """The Trainer over rows tokenized up front; what the settings do not name is as it makes it by default."""
    texts, labels = rows
    encoded = model.tokenizer(texts, truncation=True, max_length=settings.MAX_LENGTH, return_token_type_ids=False)
    dataset = [{"input_ids": ids, "attention_mask": mask, "labels": label} for ids, mask, label in
               zip(encoded["input_ids"], encoded["attention_mask"], labels.tolist())]
    arguments = transformers.TrainingArguments(
        folder, per_device_train_batch_size=settings.BATCH_SIZE, learning_rate=settings.LEARNING_RATE,
        weight_decay=settings.WEIGHT_DECAY, max_grad_norm=settings.MAX_GRAD_NORM, seed=settings.SEED,
        fp16=precision.dtype == torch.float16, bf16=precision.dtype == torch.bfloat16,
        use_cpu=precision.device.type == "cpu", report_to=[], save_strategy="no", disable_tqdm=True, **arguments)
    trainer = transformers.Trainer(WithLoss(model), arguments, train_dataset=dataset,
                                   data_collator=transformers.DataCollatorWithPadding(model.tokenizer))
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def trainer(settings, model, rows, precision, **arguments):
    """transformers' Trainer."""
    seconds = EpochSeconds(precision.device)
    with tempfile.TemporaryDirectory() as folder:
        run = make_trainer(settings, model, rows, precision, folder, num_train_epochs=1, **arguments)
        run.add_callback(seconds)
        run.train()
    return seconds.seconds


def trainer_grouped(settings, model, rows, precision):
    """The same with rows of like length together."""
    return trainer(settings, model, rows, precision, train_sampling_strategy="group_by_length")


def script_training(settings, model, rows, precision, epochs, cached=False):
    """(a function that trains the epoch of a number and returns its figures, optimizer steps in all), made of the
    script's own parts."""
    encoded = encode(*rows, model.tokenizer, settings.MAX_LENGTH)
    if cached:
        print(keep_bottom(settings, model, [encoded], precision.dtype == torch.float16, Path(settings.OUTPUT_DIR),
                          alone=True))
    loader, _ = make_loaders(settings, [encoded, encoded], model)
    _, steps = count_steps(len(loader), settings.GRADIENT_ACCUMULATION_STEPS, epochs)
    optimizer = make_optimizer(model, settings.LEARNING_RATE, settings.WEIGHT_DECAY, settings.LAYER_LR_DECAY,
                               settings.HEAD_LEARNING_RATE)
    learner = Learner(model, optimizer, make_schedule(optimizer, steps, settings.WARMUP_RATIO), precision,
                      precision.scaler(), accumulation=settings.GRADIENT_ACCUMULATION_STEPS,
                      max_grad_norm=settings.MAX_GRAD_NORM)

    def train_epoch(epoch):
        loader.batch_sampler.epoch = epoch
        return script.train_epoch(learner, loader)

    return train_epoch, steps


def script_itself(settings, model, rows, precision):
    """What BERT_main_aggressive.py does."""
    train_epoch, _ = script_training(settings, model, rows, precision, epochs=1)
    began = clock(precision.device)
    train_epoch(1)
    return clock(precision.device) - began


# Further ways, for what a GPU alone can answer

def trainer_flash(settings, model, rows, precision):
    """The Trainer with rows of like length together and flash attention."""
    before = model.encoder.config._attn_implementation
    model.encoder.set_attn_implementation("flash_attention_2")
    try:
        return trainer_grouped(settings, model, rows, precision)
    finally:
        model.encoder.set_attn_implementation(before)


def script_padded(settings, model, rows, precision):
    """The script, its like-length batches as padded rows."""
    first_position, model.first_position = model.first_position, None
    try:
        return script_itself(settings, model, rows, precision)
    finally:
        model.first_position = first_position


def script_compiled(settings, model, rows, precision):
    """The script, its layers compiled; the top one has hooks of its own in each pass."""
    layers = list(encoder_layers(model.encoder))[:-1]
    for layer in layers:
        layer.forward = torch.compile(layer.forward, dynamic=True)
    try:
        return script_itself(settings, model, rows, precision)
    finally:
        for layer in layers:
            del layer.forward


def in_float32(way):
    """The same way, whatever the precision of the others."""
    return lambda settings, model, rows, precision: way(settings, model, rows, replace(precision, dtype=None))


SCRIPT = "script"
WAYS = {"naive": naive, "trainer": trainer, "trainer grouped": trainer_grouped, SCRIPT: script_itself}
IN_FLOAT32 = {f"{way} fp32": in_float32(WAYS[way]) for way in ("naive", "trainer", SCRIPT)}
FURTHER_WAYS = {"trainer flash": trainer_flash, "script padded": script_padded, "script compiled": script_compiled,
                **IN_FLOAT32}
SPARING = (SCRIPT, "script compiled", "script fp32")    # ways that do without what nothing reads in the top layer


def chosen_ways(only, precision):
    """Names of the ways to compare: without a regular expression the usual ones, else those that it finds."""
    if not only:
        return [*WAYS, *IN_FLOAT32] if precision.dtype == torch.bfloat16 else list(WAYS)
    found = [way for way in WAYS | FURTHER_WAYS if re.search(only, way) or way == SCRIPT]
    if "trainer flash" in found and not is_flash_attn_2_available():
        print("trainer flash is left out: the package flash-attn is not here", file=sys.stderr)
        found.remove("trainer flash")
    return found


# What is measured

@contextlib.contextmanager
def watched(encoder):
    """What the encoder computes, noted without waiting for the device: token ids, and positions in its first layer."""
    seen = SimpleNamespace(positions=0, passes=0, ids=[])

    def before_layer(layer, positional, named):
        hidden = positional[0] if positional else named["hidden_states"]
        seen.positions += math.prod(hidden.shape[:-1])      # rows x positions, whatever the rows are
        seen.passes += 1

    def before_embedding(embedding, positional):
        seen.ids.append(positional[0])

    hooks = [encoder_layers(encoder)[0].register_forward_pre_hook(before_layer, with_kwargs=True),
             encoder.get_input_embeddings().register_forward_pre_hook(before_embedding)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def count_tokens(ids, pad_id):
    """{token id: times}, padding left out."""
    numbers, times = numpy.unique(ids, return_counts=True)
    return {number: count for number, count in zip(numbers.tolist(), times.tolist()) if number != pad_id}


def set_up(way):
    """For the script what its runs set; for the others torch's matrix products, and on a CPU of glibc's allocator what
    it comes to by itself at best, when large blocks are freed again and again."""
    torch.set_float32_matmul_precision(TORCHS_PRODUCTS)
    if way.startswith(SCRIPT):
        compute_quickly()
        return
    if torch.cuda.is_available():
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in ((M_MMAP_MAX, 1 << 16), (M_MMAP_THRESHOLD, 32 << 20),
                            (M_TRIM_THRESHOLD, 64 << 20)):
            mallopt(name, value)


def measure(way, settings, model, start, warm_up, counted, precision):
    """Seconds, passes and positions of one epoch from the starting weights, and the tokens that were seen."""
    set_up(way)
    for rows in (warm_up, counted):
        model.load_state_dict(start)
        model.zero_grad()
        transformers.set_seed(settings.SEED)
        gc.collect()
        with watched(model.encoder) as seen:
            seconds = (WAYS | FURTHER_WAYS)[way](settings, model, rows, precision)
    if not seen.positions or not seen.ids:
        raise RuntimeError(f"{way}: what its encoder computes cannot be counted")
    ids = torch.cat([one.flatten() for one in seen.ids]).cpu().numpy()
    return {"seconds": seconds, "passes": seen.passes, "positions": seen.positions,
            "tokens": count_tokens(ids, model.tokenizer.pad_token_id or 0)}


def product_rate(width, tokens, precision):
    """The highest rate of matrix products of an encoder's sizes and of a big square, in operations per second."""
    device, big = precision.device, BIG_PRODUCT[precision.device.type]
    best = 0.0
    for rows, inner, columns in ((tokens, width, 4 * width), (tokens, 4 * width, width), (big, big, big)):
        left, right = (torch.randn(shape, device=device).to(precision.dtype or torch.float32)
                       for shape in ((rows, inner), (inner, columns)))
        product = left @ right
        for _ in range(PRODUCT_TRIES):
            began = clock(device)
            for _ in range(PRODUCTS[device.type]):
                torch.mm(left, right, out=product)
            best = max(best, 2 * rows * inner * columns * PRODUCTS[device.type] / (clock(device) - began))
    return best


def arithmetic(encoder, lengths):
    """Operations that training needs for texts of these lengths: forward, and twice as many backward.

    Forward these are two for each token and weight of the layers' matrices, and in attention 4 x width for each pair of
    tokens and each layer. Pooler and head are too small to count.
    """
    layers = encoder_layers(encoder)
    weights = sum(one.numel() for one in layers.parameters() if one.dim() == 2)
    pairs = (lengths.astype(numpy.float64) ** 2).sum()
    return 6 * weights * lengths.sum() + 12 * len(layers) * encoder.config.hidden_size * pairs


def spared(encoder, lengths):
    """Of these, the operations that the script does without: queries in the top layer and what follows attention
    there, for all tokens but the first of each text."""
    top = encoder_layers(encoder)[-1]
    weights = sum(one.numel() for name, one in top.named_parameters()
                  if one.dim() == 2 and ("attention" not in name or name.startswith(("attention.output", *QUERY))))
    return 6 * weights * (lengths.sum() - len(lengths))


# The comparison

def read_rows(settings):
    """((texts, labels) to train on, the same to validate on, names of the classes)."""
    training, validation, whole, _ = read_tables(settings)
    names = class_names(whole.labels)
    return *((table.texts, class_numbers(table, names)) for table in (training, validation)), names


def rows_at(rows, numbers):
    texts, labels = rows
    return [texts[number] for number in numbers], labels[numbers]


def draw_rows(settings, training, wanted):
    """(warm-up rows, counted rows), drawn at random; both fill whole batches, as a rest would have each way's own size.

    Raises:
        SettingError: there are too few.
    """
    batch = settings.BATCH_SIZE
    order = numpy.random.default_rng(settings.SEED).permutation(len(training[1]))
    steps = min(wanted, len(order)) // batch
    warm_up_steps = min(WARM_UP_STEPS, len(order) // batch - steps)
    if not steps or not warm_up_steps:
        raise SettingError(f"{len(order)} rows to train on do not give {wanted} in batches of {batch}, and one more "
                                  "batch to warm up with; give more rows, or a smaller --rows or BATCH_SIZE")
    counted, warm_up = numpy.split(order[:(steps + warm_up_steps) * batch], [steps * batch])
    return rows_at(training, warm_up), rows_at(training, counted)


def starting_model(settings, names, precision, size=""):
    """The classifier on its device; the same seed gives the same weights."""
    transformers.set_seed(settings.SEED)
    if not size:
        return script.prepare_model(settings, names, find_encoder(settings.MODEL_NAME), precision, ALONE)
    _, tokenizer = load_encoder(embedded_encoder("for its tokenizer"))
    encoder = transformers.AutoModel.from_config(transformers.BertConfig(), dtype=torch.float32)    # its defaults are
                                                                                                    # bert-base's size
    model = BertSentimentClassifier(
        f"BERT of the size of {size}, random weights", len(names), settings.DROPOUT, settings.FREEZE_STRATEGY,
        settings.HEAD, label_names=names, max_length=settings.MAX_LENGTH, encoder=encoder,
        tokenizer=tokenizer).to(precision.device)
    model.run_end_to_end()
    return model


def compare(settings, rounds, wanted, size="", only=""):
    """(figures of each way, conditions in words): the rounds, with their raw figures on standard error."""
    if settings.GRADIENT_ACCUMULATION_STEPS > 1:
        raise SettingError("GRADIENT_ACCUMULATION_STEPS must be 1 here: the naive loop does not accumulate")
    precision = choose_precision(settings.ENABLE_FP16)
    ways = chosen_ways(only, precision)
    training, _, names = read_rows(settings)
    warm_up, counted = draw_rows(settings, training, wanted)
    model = starting_model(settings, names, precision, size)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    began = time.perf_counter()
    encoded = encode(*counted, model.tokenizer, settings.MAX_LENGTH)
    tokenizing = time.perf_counter() - began
    there = count_tokens(encoded.ids, model.tokenizer.pad_token_id or 0)

    def rate():     # as torch multiplies by itself, and as the script has it done
        best = 0.0
        for way in ("naive", SCRIPT):
            set_up(way)
            best = max(best, product_rate(model.encoder.config.hidden_size, settings.BATCH_SIZE * settings.MAX_LENGTH,
                                          precision))
        return best

    rates, results = [rate()], {way: [] for way in ways}
    for number in range(1, rounds + 1):
        for way in (ways if number % 2 else reversed(ways)):    # whatever drifts meets each way early and late
            result = measure(way, settings, model, start, warm_up, counted, precision)
            if result["tokens"] != there:
                raise RuntimeError(f"{way} has not trained on the rows it was given, each once")
            results[way].append(result)
            print(f"round {number}  {way:<16}{result['seconds']:>9.3f} s{result['passes']:>6} passes"
                  f"{result['positions']:>10,} positions", file=sys.stderr, flush=True)
        rates.append(rate())
        print(f"round {number}  matrix products {rates[-1] / 1e9:,.1f} GFLOPS", file=sys.stderr, flush=True)
    needed = dict.fromkeys(ways)
    if settings.FREEZE_STRATEGY == "none":
        needed = dict.fromkeys(ways, arithmetic(model.encoder, encoded.lengths()))
        for way in {*SPARING} & {*ways} if model.first_position is not None else ():
            needed[way] -= spared(model.encoder, encoded.lengths())
    if precision.dtype is not None:     # the rate measured is not theirs
        needed |= dict.fromkeys({*IN_FLOAT32} & {*ways})
    return figures(results, encoded.lengths(), needed, max(rates)), \
        conditions(settings, model, encoded, precision, rounds, max(rates), tokenizing)


def compare_cache(settings, rounds, wanted, size=""):
    """Lines of a table: seconds of the script's first and second epoch, the frozen layers run each time, or once."""
    precision = choose_precision(settings.ENABLE_FP16)
    training, _, names = read_rows(settings)
    warm_up, counted = draw_rows(settings, training, wanted)
    model = starting_model(settings, names, precision, size)
    if not frozen_layers(model.encoder):
        raise SettingError(f"FREEZE_STRATEGY {settings.FREEZE_STRATEGY} freezes no layer; half and full do")
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    set_up(SCRIPT)
    seconds = {False: [], True: []}
    for number in range(rounds):
        for cached in seconds:
            model.load_state_dict(start)
            model.bottom_is_still = False
            script_training(settings, model, warm_up, precision, epochs=1)[0](1)
            train_epoch, _ = script_training(settings, model, counted, precision, epochs=2, cached=cached)
            marks = [clock(precision.device)]
            for epoch in (1, 2):
                train_epoch(epoch)
                marks.append(clock(precision.device))
            seconds[cached].append((marks[1] - marks[0], marks[2] - marks[1]))
            print(f"round {number + 1}  {'kept' if cached else 'run each time':<16}epochs of "
                  f"{seconds[cached][-1][0]:.3f} and {seconds[cached][-1][1]:.3f} s", file=sys.stderr, flush=True)
    lines = ["| frozen layers | first epoch, s | second epoch, s |", "| --- | --- | --- |"]
    for cached, name in ((False, "run each time"), (True, "run once")):
        first, second = (statistics.median(one[epoch] for one in seconds[cached]) for epoch in (0, 1))
        lines.append(f"| {name} | {first:.2f} | {second:.2f} |")
    ratios = [without[1] / kept[1] for without, kept in zip(seconds[False], seconds[True])]
    return [*lines, "", f"second epoch {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f}); "
            f"{model.encoder_name}, {settings.FREEZE_STRATEGY}, {frozen_layers(model.encoder)} layers frozen, {len(counted[1]):,} "
            f"rows, {clock_name(precision.device)}, {torch.get_num_threads()} threads"]


def figures(results, lengths, needed, rate):
    """{way: its figures}; needed: {way: operations}, None where it is not known how many."""
    by_way = {}
    for way, rounds in results.items():
        seconds = statistics.median(one["seconds"] for one in rounds)
        ratios = [one["seconds"] / own["seconds"] for one, own in zip(rounds, results[SCRIPT])]
        by_way[way] = {"examples": len(lengths) / seconds, "tokens": int(lengths.sum()) / seconds,
                       "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios),
                       "share": int(lengths.sum()) / statistics.median(one["positions"] for one in rounds),
                       "of_rate": None if needed[way] is None else needed[way] / seconds / rate}
    return by_way


def table(by_way):
    """Lines of the table."""
    lines = ["| | examples/s | real tokens/s | script is so many times as fast | real tokens among computed positions |"
             " arithmetic, of the rate of matrix products |", "| --- | --- | --- | --- | --- | --- |"]
    for way, one in by_way.items():
        ratio = "" if way == SCRIPT else f"{one['ratio']:.2f} ({one['lowest']:.2f} to {one['highest']:.2f})"
        of_rate = "" if one["of_rate"] is None else f"{one['of_rate']:.1%}"
        lines.append(f"| {way} | {one['examples']:,.1f} | {one['tokens']:,.0f} | {ratio} | {one['share']:.1%} "
                     f"| {of_rate} |")
    return lines


def device_name(precision):
    return torch.cuda.get_device_name() if precision.device.type == "cuda" else "cpu"


def conditions(settings, model, encoded, precision, rounds, rate, tokenizing):
    """All that the figures hold for, in one paragraph."""
    versions = ", ".join(f"{one.__name__} {one.__version__}" for one in (torch, transformers, accelerate))
    return (f"{model.encoder_name}; {len(encoded):,} rows of {encoded.lengths().mean():.1f} tokens on average, at most "
            f"{settings.MAX_LENGTH}, batches of {settings.BATCH_SIZE}; strategy {settings.FREEZE_STRATEGY}; median of "
            f"{rounds} rounds (lowest to highest), {clock_name(precision.device)}; tokenizing up front, not counted, "
            f"{tokenizing:.2f} s; matrix products at best {rate / 1e9:,.1f} GFLOPS; {device_name(precision)} "
            f"{precision.name}, {torch.get_num_threads()} threads, Python {platform.python_version()}, "
            f"{versions}; {datetime.date.today()}")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="measurements of each way")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows trained on in each measurement")
    parser.add_argument("--only", default="", help="a regular expression for the names of the ways")
    parser.add_argument("--encoder", help="a folder or a name, as MODEL_NAME")
    parser.add_argument("--size", choices=["bert-base"], default="", help="a BERT of this size with random weights")
    parser.add_argument("--cache", action="store_true", help="compare epochs with CACHE_FROZEN_LAYERS and without instead")
    options, constants = parser.parse_known_args(arguments)
    constants += [f"--MODEL_NAME={options.encoder}"] if options.encoder else []
    try:
        with contextlib.redirect_stdout(sys.stderr):        # what the script says is no part of the table
            wanted = script.settings_from(constants), options.rounds, options.rows, options.size
            if options.cache:
                lines = compare_cache(*wanted)
            else:
                by_way, told = compare(*wanted, options.only)
                lines = [*table(by_way), "", told]
    except (ConstantError, SettingError, TableError, EncoderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
