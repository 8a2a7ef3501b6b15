"""Fine-tune a BERT-family encoder on a table of labelled texts, and say what the scores are worth.

    python BERT_main_aggressive.py                                  the sample in data/
    python BERT_main_aggressive.py --TRAIN_PATH=posts.csv           your own table; data/README.md says which formats
    python BERT_main_aggressive.py --FREEZE_STRATEGY=half           any constant below, by its name
    python BERT_main_aggressive.py --help                           all of them
    python BERT_main_aggressive.py --RESUME=True                    go on with a run that was interrupted
    torchrun --nproc_per_node=2 BERT_main_aggressive.py             train on two GPUs

Edit the constants or give them on the command line. The run ends with its scores beside those of guessing and of a
linear model, and leaves the best model, its figures and the constants used in a folder below runs/.
The sample with the constants as they stand: accuracy 0.73 and macro-F1 0.74 on 250 rows, where a linear model has 0.68
and 0.69 (embedded encoder). Does it not learn? `python diagnose_bert.py` takes the same constants and names the cause.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path        # for constants such as Path("texts") / "posts.csv"

if os.environ.get("RANK", "0") != "0":      # of several processes the first draws the bars; read when tqdm is imported
    os.environ["TQDM_DISABLE"] = "1"

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from BERT_model_aggressive import FREEZE_STRATEGIES, HEADS, BertSentimentClassifier
from diagnosis.look import PlannedRun, Rows, errors, look
from training.constants import ConstantError, help_text, read_constants
from training.encoder.finding import EncoderError, begin_to_find_encoder, load_encoder
from training.encoder.frozen import keep_bottom
from training.encoder.pooling import POOLINGS, choose_pooling
from training.encoder.processor import draw_dropout_quickly
from training.precision import choose_precision
from training.run import screen
from training.run.data import change_texts, make_loaders, prepare_data
from training.run.ensemble import keep_for_ensemble, say_ensemble
from training.run.folder import Place, choose_run_folder, facts_of, make_folder, precision_begun_in
from training.run.folds import run_folds
from training.run.interruption import Interrupted, Interruption, command_to_resume
from training.run.optimization import (Learner, batch_loss, class_loss_weights, count_steps, logits_of, make_optimizer,
                                       make_schedule, moving_average, warm_up_steps, weigh_group)
from training.run.process import process_set_up
from training.run.results import compare_reloaded, epoch_figures, write_page, write_results
from training.run.search import search
from training.run.state import Progress, resume, rows_sha256, save_state, table_sums
from training.run.tally import NumbersGoneWrong, Watch, judge_gradient, new_tally, raise_unless_finite
from training.run.team import (ALONE, add_up, exchange_gradients, gathered, highest_of, join_team, leave_team,
                               share_statistics, told_by_the_first)
from training.run.temperature import fit_temperature
from training.run.testing import score_test_rows
from training.run.trials import run_trials
from training.run.trouble import RunError, disk_problem, memory_told, rows_told, what_is_kept
from training.settings import KINDS, NONE_IS_ZERO, RECIPES, SettingError, fit_to_rows, read_settings
from training.texts.batches import Tokens, encode, uncut_lengths
from training.texts.formats import QUOTINGS
from training.texts.refusal import TableError
from training.texts.tables import Table, alike_labels

# data
TRAIN_PATH = "data/sample.csv"      # CSV, TSV, JSON, .xlsx or .parquet, plain or .gz
VAL_PATH = ""                       # a table to validate on; empty: a part of TRAIN_PATH is set aside
TEXT_COLUMN = "text"                # column of the texts
SECOND_TEXT_COLUMN = ""             # column of what each text is paired with, such as whom it is about; empty: none
LABEL_COLUMN = "label"              # column of the labels, words or whole numbers
GROUP_COLUMN = ""                   # rows of one value stay on one side of the split, as equal texts do; empty: none
COLUMN_NAMES = ""                   # columns of a file without a header line, as in id,entity,label,text
ENCODING = ""                       # of the files, as in gb18030 or cp1252; empty: recognised
QUOTING = ""                        # double: cells may stand in double quotes; none: they are not; empty: recognised
CORRECTIONS_PATH = ""               # a run's confidently_wrong.csv, its column corrected filled in; empty: none
VALIDATION_SHARE = 0.1              # part of the rows set aside where no VAL_PATH is given
TEST_PATH = ""                      # a table that chooses nothing: the finished model is scored on it, once
TEST_SHARE = 0.0                    # or: part of TRAIN_PATH set aside for that before anything is chosen; 0: none
FOLDS = 0                           # cross-validation: so many runs, each tested on other rows until all were; 0: none
FOLD = 0                            # of these the one to run, as on several machines; 0: all, and a table of them
MAX_TRAIN_ROWS = 0                  # train on so many rows, drawn at random, and validate on 2,000 others; 0: on all

# model
MODEL_NAME = "bert-base-uncased"    # folder or hub name; bert-base-uncased alone falls back to the embedded encoder
FREEZE_STRATEGY = "none"            # none, embed (embeddings), half (and half the layers), full (and three quarters)
POOLING = "auto"                    # what the head is given: cls (the first token), pooler, mean (of the tokens);
                                    # auto: as the checkpoint was trained
HEAD = "batchnorm"                  # batchnorm (width-512-256-classes) or linear (width-classes)
DROPOUT = 0.3                       # after each hidden layer of the batchnorm head
MAX_LENGTH = 128                    # tokens kept of a text
CACHE_FROZEN_LAYERS = True          # half, full: run the frozen layers once for each text, without dropout; keep that

# training
RECIPE = "guide"                    # guide: the constants as they stand; measured: those of MEASURED below, in place of
                                    # these here; a constant given by name wins over it
BATCH_SIZE = 32                     # texts per forward pass, in each process of torchrun
POOL_BATCHES = 50                   # texts of like length share a batch, within pools of so many batches
GRADIENT_ACCUMULATION_STEPS = 1     # forward passes per optimizer step; multiplies the effective batch
NUM_EPOCHS = 5                      # passes over the training rows
LEARNING_RATE = 5e-5                # peak rate of AdamW; 2e-5 is the careful start
WARMUP_RATIO = 0.1                  # share of all optimizer steps (not epochs) in which the rate rises
WEIGHT_DECAY = 0.01                 # of AdamW; biases and norms have none
MAX_GRAD_NORM = 1.0                 # gradients longer than this are shortened to it; 0: no clipping
CLASS_WEIGHTS = False               # weigh each class in the loss by the inverse of its frequency
ENABLE_FP16 = True                  # mixed precision: fp16 on CUDA; on a CPU bfloat16, where a timed product says so
EARLY_STOPPING_PATIENCE = 3         # stop after so many epochs without a better macro-F1; 0: never
SEED = 42                           # of the split, the order, the head's first weights and the dropout
DETERMINISTIC = False               # on CUDA the same figures bit for bit each time, at some cost in speed; a CPU gives
                                    # them anyway

# further options, all of them off
LAYER_LR_DECAY = 1.0                # each lower layer's rate is the one above it times this; 0.95 in Sun et al. 2019
HEAD_LEARNING_RATE = 0.0            # peak rate of the head; 0: LEARNING_RATE
LABEL_SMOOTHING = 0.0               # share of each label that is spread over all classes
EMA_STEPS = 0                       # validate and keep the weights' moving average over so many steps; 0: off
AUGMENT = ""                        # ways to change training texts, commas between: reverse, delete, swap, synonyms
AUGMENT_SHARE = 0.5                 # share of the training texts that are changed, drawn afresh in each epoch
SYNONYMS_PATH = "data/synonyms.txt" # for AUGMENT=synonyms: lines of words that can stand for one another
ENSEMBLE = 0                        # average the probabilities of so many best epochs, and the weights of so many last
RUN_TRIALS = False                  # instead of one run those in this script's list TRIALS, and a table of them
TRIALS = [                          # constants that each trial changes; the first one changes none
    "",
    "LEARNING_RATE=1e-4", "BATCH_SIZE=16", "HEAD=linear", "ENABLE_FP16=False",
    "FREEZE_STRATEGY=embed", "FREEZE_STRATEGY=half", "FREEZE_STRATEGY=full",
]
TRIALS_BUDGET = 0.0                 # or draw trials from RANGES until so many minutes are over; 0: none
RANGES = {                          # lowest and highest of a rate, or a list to choose from
    "LEARNING_RATE": (2e-5, 5e-4), "HEAD_LEARNING_RATE": (1e-4, 5e-3), "HEAD": ["batchnorm", "linear"],
    "BATCH_SIZE": [16, 32], "LAYER_LR_DECAY": [0.8, 0.9, 1.0], "DROPOUT": [0.1, 0.3],
}

# RECIPE=measured, tried with the embedded encoder alone. Test rows of real tweets, three seeds; 1,000 rows, 3 epochs:
# guide 0.494, measured 0.593; 6,000 rows: 0.619. Without the average, one seed each unless said otherwise:
MEASURED = {
    "HEAD": "linear",               # with batches of 32: batchnorm 0.554, linear 0.581
    "BATCH_SIZE": 16,               # with the linear head 0.588; with batchnorm 0.531
    "NUM_EPOCHS": 4,                # three seeds: 0.583 and 0.563 macro-F1; 3: 0.576, 0.554; 2: 0.582, 0.547
    "LEARNING_RATE": 2e-4,          # 0.555 on 2,000 tweets with the batchnorm head and batches of 32; 1e-4: 0.553
    "HEAD_LEARNING_RATE": 1e-3,     # tried with this value alone
    "EMA_STEPS": 50,                # three seeds, 3 epochs: 0.593, 0: 0.576; 4 epochs: 0.590, 0.583
}
LARGE, MEASURED_LARGE = 3_000, {"NUM_EPOCHS": 2, "LEARNING_RATE": 1e-4}   # from so many rows on: 0.598; 3 epochs: 0.588

# output
OUTPUT_DIR = "runs/aggressive"      # results go here, or where this exists to runs/aggressive-2, -3, ...
SAVE_EVERY = 500                    # optimizer steps between saved states, beside those of epochs' ends; 0: only these
RESUME = False                      # go on from the newest saved state in OUTPUT_DIR; from the start where it has none


def settings_from(arguments):
    """The constants above, as the arguments change them, held to their bounds."""
    return read_settings(__file__, arguments,
                         {"RECIPE": RECIPES, "FREEZE_STRATEGY": FREEZE_STRATEGIES, "POOLING": POOLINGS, "HEAD": HEADS,
                          "QUOTING": ("", *QUOTINGS)}, MEASURED)


# Everything that is needed before the first step, said as it is made: the place, the data, the learner

def prepare(settings, team=ALONE):
    """(Data, Learner, Place) of a run."""
    if settings.ENSEMBLE and team.size > 1:
        raise SettingError(f"ENSEMBLE is {settings.ENSEMBLE}, which takes one process; there are {team.size}")
    folder, lock = choose_run_folder(settings.OUTPUT_DIR, settings.RESUME) if team.rank == 0 else (None, None)
    folder = told_by_the_first(team, folder)
    transformers.set_seed(settings.SEED)
    precision = told_by_the_first(team, choose_precision(settings.ENABLE_FP16, precision_begun_in(folder)))
    source = begin_to_find_encoder(settings.MODEL_NAME)     # the hub has time to answer
    data = prepare_data(settings)
    settings = fit_to_rows(settings, len(data.training), LARGE, MEASURED_LARGE)
    if len(data.training) < 2 * team.size:
        raise SettingError(f"{len(data.training)} rows to train on are too few for {team.size} processes")
    model = prepare_model(settings, data.names, source(), precision, team)
    sets = [encode(table.texts, labels, model.tokenizer, settings.MAX_LENGTH, table.seconds)
            for table, labels in data.tables()]
    data.loaders = make_loaders(settings, sets, model, team)
    if data.test is not None:
        data.test.loader = data.loaders.pop()
    if told := keep_bottom(settings, model, sets[:2], precision.dtype == torch.float16, folder, team.size == 1):
        screen.say("cache", told)
    learner, steps = prepare_learner(settings, data, model, precision, team)
    if not settings.AUGMENT:        # nothing reads the texts again
        data.training = Table(data.training.path, lines=data.training.lines, counts=data.training.counts)
    sums, facts = table_sums(settings) | {"rows": rows_sha256(*sets)}, facts_of(data, learner, steps)
    return data, learner, Place(folder, lock, team.rank == 0, settings, sums, facts)


def prepare_model(settings, names, source, precision, team):
    """The classifier on its device, as the settings ask for it, with the encoder of an EncoderSource."""
    screen.say_encoder(source, settings.MODEL_NAME)
    encoder, tokenizer = load_encoder(source)
    longest = getattr(encoder.config, "max_position_embeddings", settings.MAX_LENGTH)
    if settings.MAX_LENGTH > longest:
        raise SettingError(f"MAX_LENGTH is {settings.MAX_LENGTH}; {source.name} takes at most {longest} tokens")
    pooling, why = choose_pooling(settings.POOLING, encoder, source)
    screen.say("pooling", f"{pooling}: {why}")
    model = BertSentimentClassifier(
        source.name, len(names), settings.DROPOUT, settings.FREEZE_STRATEGY, settings.HEAD, pooling=pooling,
        label_names=names, max_length=settings.MAX_LENGTH, second_text_column=settings.SECOND_TEXT_COLUMN,
        encoder=encoder, tokenizer=tokenizer).to(precision.device)
    screen.say_model(model, precision, why_padded=model.run_end_to_end())
    if precision.device.type == "cpu":
        draw_dropout_quickly(model)
    if team.size > 1:
        screen.say_processes(team, settings, precision)
        if precision.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
    screen.say_parameters(model)
    return model


def prepare_learner(settings, data, model, precision, team):
    """(Learner, optimizer steps planned), once the plan is printed and the doctor has had its look."""
    loader = data.loaders[0]
    steps_per_epoch, steps = count_steps(len(loader), settings.GRADIENT_ACCUMULATION_STEPS, settings.NUM_EPOCHS)
    optimizer = make_optimizer(model, settings.LEARNING_RATE, settings.WEIGHT_DECAY, settings.LAYER_LR_DECAY,
                               settings.HEAD_LEARNING_RATE)
    schedule = make_schedule(optimizer, steps, settings.WARMUP_RATIO)
    screen.say_recipe(settings, MEASURED)
    screen.say_plan(optimizer, schedule, warm_up_steps(steps, settings.WARMUP_RATIO), steps_per_epoch, steps)
    screen.say_merged(loader.batch_sampler.merged)
    rows = [Rows(Tokens(each.dataset), each.dataset.labels) for each in data.loaders]
    run = PlannedRun(settings.NUM_EPOCHS, steps_per_epoch, settings.BATCH_SIZE, *rows, model.tokenizer,
                     settings.MAX_LENGTH, uncut_lengths(data.training.texts, model.tokenizer, data.training.seconds),
                     data.names, alike_labels(data.names))
    judgement = look(model, optimizer, schedule, run, __file__)
    screen.say_look(judgement)
    data.warning = "; ".join(filter(None, [data.warning, *errors(judgement, but=("leakage",) * data.overlap.inflates)]))
    if team.rank:       # the head's first weights are the same, the dropout is not
        torch.manual_seed(settings.SEED + team.rank)
    weights = class_loss_weights(data.training_labels, len(data.names), precision.device) \
        if settings.CLASS_WEIGHTS else None
    return Learner(model, optimizer, schedule, precision, precision.scaler(), team, weights, settings.LABEL_SMOOTHING,
                   settings.GRADIENT_ACCUMULATION_STEPS, settings.MAX_GRAD_NORM,
                   AveragedModel(model) if settings.ENSEMBLE else None,
                   moving_average(model, settings.EMA_STEPS, steps)), steps


# One epoch

def train_epoch(learner, loader, tally=None, title="train", on_step=None):
    """One pass over the loader, or over what a resumed tally has left of it.

    Args:
        on_step: called with the Watch after each optimizer step, when everything is such that a state can be saved.

    Returns:
        loss (plain cross-entropy, whatever the class weights and the smoothing) and accuracy of the training rows as
        the weights stood when each was seen, the last learning rate, steps skipped by the scaler, rows, real tokens,
        positions computed outside attention, seconds; of all processes together.

    Raises:
        NumbersGoneWrong: a loss or gradient is NaN or infinite, or the scaler skips step after step.
    """
    model, optimizer, scaler, accumulation = learner.wrapped, learner.optimizer, learner.scaler, learner.accumulation
    device, bottom = learner.precision.device, loader.dataset.bottom
    model.train()
    tally = tally or new_tally(device)
    watch, mark, rows_of_step, weights_of_group = Watch(), time.perf_counter(), [], []
    optimizer.zero_grad()
    bar = tqdm(loader, title, total=len(loader), initial=tally.batches, leave=False, disable=None)
    for index, batch in enumerate(bar, start=tally.batches):
        step = index // accumulation + 1
        steps_now = (index + 1) % accumulation == 0 or index + 1 == len(loader)
        rows_of_batch = batch["rows"].tolist()
        rows_of_step += rows_of_batch
        with exchange_gradients(model, steps_now):
            logits = logits_of(model, batch, learner.precision, bottom)
            labels = batch["labels"].to(device, non_blocking=True)
            loss = batch_loss(logits, labels, learner, weights_of_group)
            watch.note(loss.detach().isfinite(), partial(
                raise_unless_finite, what=f"the loss is not finite at step {step:,} of the epoch", rows=rows_of_batch))
            scaler.scale(loss).backward()
        tally.add(logits, labels, batch["lengths"],
                  len(batch["layout"].places) if "layout" in batch else batch["input_ids"].numel())
        if not steps_now:
            continue
        tally.rate = max(group["lr"] for group in optimizer.param_groups)
        take_step(learner, weights_of_group, lambda norm: watch.note(
            norm.isfinite(), partial(judge_gradient, scaler=scaler, tally=tally, step=step, rows=rows_of_step)))
        rows_of_step, weights_of_group = [], []
        tally.seconds += time.perf_counter() - mark
        if on_step is not None:
            on_step(watch)
        mark = time.perf_counter()
    watch.look()
    if bottom is not None:
        bottom.arrive()
    sums = tally.sums.tolist()      # waits for the device
    tally.seconds += time.perf_counter() - mark
    loss_sum, correct, rows, tokens, positions = add_up(
        learner.team, sums + [tally.rows, tally.tokens, tally.positions])
    return {"loss": loss_sum / rows, "accuracy": correct / rows, "rate": tally.rate, "skipped": tally.skipped,
            "rows": rows, "tokens": tokens, "positions": positions, "seconds": tally.seconds}


def take_step(learner, weights_of_group, judge_norm):
    """Unscale, weigh, clip, judge, step, update, average, schedule, zero.

    The schedule moves for a step that the scaler skips too, which costs one place of it: the plan printed is then the
    plan trained, whenever the host comes to hear of the skip.
    """
    optimizer, scaler = learner.optimizer, learner.scaler
    scaler.unscale_(optimizer)
    trained = [parameter for parameter in learner.model.parameters() if parameter.grad is not None]
    weigh_group([parameter.grad for parameter in trained], weights_of_group)
    norm = nn.utils.clip_grad_norm_(trained, learner.max_grad_norm) if learner.max_grad_norm > 0 else \
        nn.utils.get_total_norm([parameter.grad for parameter in trained])
    judge_norm(norm)
    scaler.step(optimizer)
    scaler.update()
    if learner.moving is not None:
        learner.moving.update_parameters(learner.model)
    learner.schedule.step()
    optimizer.zero_grad()


@torch.no_grad()
def evaluate(model, loader, precision, check=lambda: None, team=ALONE):
    """Logits [rows, classes] and mean cross-entropy of the loader's rows, in the order of their row numbers.

    check is called for each batch and may end the pass by an exception. Of several processes each computes its share
    of the rows, and all have all logits in the end.

    Raises:
        NumbersGoneWrong: the logits of rows are NaN or infinite.
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
    logits, rows, labels = gathered(team, [torch.cat(parts) if parts else None for parts in (logits, rows, labels)])
    order = rows.argsort()
    logits, labels = logits[order], labels[order]
    finite = logits.isfinite().all(dim=1)
    if not finite.all():
        raise NumbersGoneWrong("the validation loss is not finite", (~finite).nonzero()[:, 0].tolist(), validating=True)
    return logits, cross_entropy(logits, labels).item()


# The run over the epochs

def train_epochs(data, learner, place, progress):
    """Train to the end; returns the number of the signal that ended it before, or None."""
    settings, (loader, validation_loader) = place.settings, data.loaders
    with Interruption() as interruption:
        check = interruption.check if learner.team.size == 1 else lambda: None      # several leave at a step only
        try:
            for epoch in range(progress.epoch, settings.NUM_EPOCHS + 1):
                if progress.finished:
                    break
                progress.tally = progress.tally or new_tally(learner.precision.device, progress.skipped_in_a_row)
                loader.batch_sampler.epoch, loader.batch_sampler.skipped = epoch, progress.tally.batches
                change_texts(data, settings, learner.model.tokenizer, epoch)
                seen = train_epoch(learner, loader, progress.tally, f"epoch {epoch}/{settings.NUM_EPOCHS}",
                                   lambda watch: after_step(learner, place, progress, interruption, watch))
                share_statistics(learner.kept, learner.team)
                validated = evaluate(learner.kept, validation_loader, learner.precision, check, learner.team)
                finish_epoch(data, learner, place, progress, seen, validated)
        except Interrupted:
            make_folder(place)
            save_state(learner, place, progress)
            if place.writes and progress.history:
                write_page(data, place, progress)
        return interruption.signal if not progress.finished else None


def after_step(learner, place, progress, interruption, watch):
    """Save where it is time for it; leave where the user wants to."""
    progress.step += 1
    agreed = highest_of(learner.team, interruption.signal or 0)     # one that comes only now is for the next step
    if agreed:
        interruption.signal = agreed
        watch.look()        # what the flags tell is part of the state
        interruption.check()
    if place.settings.SAVE_EVERY and progress.step % place.settings.SAVE_EVERY == 0:
        watch.look()
        make_folder(place)
        save_state(learner, place, progress)


def finish_epoch(data, learner, place, progress, seen, validated):
    """Note an epoch's figures, keep its model if it is the best, write the results and the state."""
    settings, (logits, val_loss) = place.settings, validated
    probabilities = logits.softmax(dim=1).numpy()
    progress.history.append(epoch_figures(progress.epoch, seen, val_loss, probabilities.argmax(axis=1), data.labels)
                            | {"encoder": learner.model.encoder_name, "inflated": data.overlap.inflates,
                               "temperature": fit_temperature(logits, data.labels)})
    learner.kept.temperature = progress.history[-1]["temperature"]
    screen.say_epoch(progress.history, data.baseline, data.warning)
    make_folder(place)
    if progress.best is None or progress.history[-1]["val_macro_f1"] > progress.best["val_macro_f1"]:
        progress.best = progress.history[-1] | {"probabilities": probabilities}
        if place.writes:
            learner.kept.save_pretrained(place.folder / "best")
    if settings.ENSEMBLE:
        keep_for_ensemble(learner, place, progress, probabilities)
    patience = settings.EARLY_STOPPING_PATIENCE
    stopped = f"no better macro-F1 in {patience} epochs" if 0 < patience <= progress.epoch - progress.best["epoch"] \
        else place.hopeless(progress.history)
    if stopped:
        screen.say("", f"stopped early: {stopped}")
    progress.finished = bool(stopped) or progress.epoch == settings.NUM_EPOCHS
    if place.writes:
        write_results(data, place, progress)
    progress.skipped_in_a_row = progress.tally.skipped_in_a_row
    progress.epoch, progress.tally = progress.epoch + 1, None
    save_state(learner, place, progress)


def train(settings, arguments, command="", team=ALONE, hopeless=None):
    """One run from the tables to the scores; returns the exit status.

    An interrupted run names the command that goes on with it: the one given, else made from the arguments. hopeless is
    asked after each epoch, with its history, why the run should stop there.

    Raises:
        RunError: it ended before its end for a reason that the message names.
    """
    began = time.perf_counter()
    with process_set_up(settings.DETERMINISTIC), memory_told(settings):
        data, learner, place = prepare(settings, team)
        place.hopeless = hopeless or place.hopeless
        progress = (resume(learner, place) if settings.RESUME else None) or Progress()
        try:
            interrupted = train_epochs(data, learner, place, progress)
        except NumbersGoneWrong as error:
            table = data.validation if error.validating else data.training
            raise RunError(f"epoch {progress.epoch}: {error}; {rows_told(table, error.rows)}; "
                           f"{what_is_kept(place.folder, progress.best)}") from None
        except (OSError, SafetensorError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise RunError(f"{place.folder} cannot be written: {disk_problem(error)}; "
                           f"{what_is_kept(place.folder, progress.best)}") from None
        if interrupted:
            if place.writes:
                print(f"interrupted after {progress.step:,} optimizer steps; this goes on from there:\n"
                      f"{command or command_to_resume(place.folder, arguments, team.size)}", file=sys.stderr)
            return 128 + interrupted
        if data.test is None or settings.ENSEMBLE:
            screen.say_scores(data, place, progress)
        if settings.ENSEMBLE:
            say_ensemble(data, learner, place, progress, evaluate)
        if data.test is not None:
            score_test_rows(data, learner, place, progress, evaluate)
        if place.writes:
            with learner.precision.autocast():      # as the epochs were scored
                told = compare_reloaded(BertSentimentClassifier, data, progress.best, place.folder / "best")
            screen.say("saved", told)
        screen.say_results(place.folder, time.perf_counter() - began, learner.model)
        return 0


def main(arguments):
    team = join_team()
    try:
        if "--help" in arguments or "-h" in arguments:
            print(help_text(__file__, read_constants(__file__, KINDS, NONE_IS_ZERO), __doc__))
            return 0
        settings = settings_from(arguments)
        many = "FOLDS" if settings.FOLDS and not settings.FOLD else "RUN_TRIALS" if settings.RUN_TRIALS else \
            "TRIALS_BUDGET" if settings.TRIALS_BUDGET else ""
        if many and team.size > 1:
            raise SettingError(f"{many} takes one process; there are {team.size}")
        if many == "FOLDS":
            return run_folds(arguments, settings_from, train)
        if many == "TRIALS_BUDGET":
            return search(RANGES, arguments, settings_from, train)
        if many:
            return run_trials(TRIALS, arguments, settings_from, train)
        return train(settings, arguments, team=team)
    except (ConstantError, SettingError, TableError, EncoderError) as error:
        if team.rank == 0:      # the others have the same to say
            print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:       # within the epochs Interruption notes them
        print("interrupted outside the epochs: nothing that was under way is lost", file=sys.stderr)
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
