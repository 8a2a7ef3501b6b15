"""What a training run says on the screen from its plan to its last line; trials and ensembles have tables of their own."""

import math
from collections import Counter

import torch

from diagnosis.look import told
from training.encoder.hub_format import same_class
from training.run.results import classes_told
from training.texts.splitting import overlap
from training.texts.tables import alike_labels

MOST_CLASSES_TOLD = 30  # with more of them the scores by class stand in files only
MOST_ALIKE_TOLD = 10    # warnings of one kind
SMALL_CLASS = 20        # rows to train on, below which their number is told beside their share
FEWEST_ROWS_OF_CLASS = 5        # in training and validation together; fewer are said to be too few


def say(topic, text):
    print(f"{topic:<11}{text}", flush=True)


def say_rows(table, first=True):
    """What became of the rows of a table, and how it was read where its name does not say so."""
    say("rows" if first else "", f"{table.account()}  ({', '.join([table.path, *table.read_as])})")
    if table.chosen:
        say("", table.chosen)


def say_alike_labels(table):
    """A warning of labels that are probably one class; each spelling is learned as a class of its own."""
    counts = Counter(table.labels)
    for names in alike_labels(table.labels)[:MOST_ALIKE_TOLD]:
        told = " and ".join(f"{name} ({counts[name]:,} rows)" for name in names)
        say("WARNING", f"{told} are learned as {len(names)} classes; if they are one, write them alike")


def say_split(data, settings, whole):
    """How the rows are shared out, and how much of validation stands in training too."""
    training, shared = data.training, data.overlap
    tested = "" if data.test is None else f", {len(data.test.table):,} to test on"
    say("split", f"{len(training):,} to train on, {len(data.validation):,} to validate on{tested}")
    groups = "" if shared.groups is None else f" and of the {settings.GROUP_COLUMN}s {shared.groups:.1%}"
    say("", f"of the validation texts {shared.texts:.1%}{groups} stand in training too")
    if data.test is not None:
        of_test = data.test.overlap
        groups = "" if of_test.groups is None else f" and of the {settings.GROUP_COLUMN}s {of_test.groups:.1%}"
        say("", f"of the test texts {of_test.texts:.1%}{groups}")
    if not shared.inflates:
        return
    if len(training) < len(whole):
        used = overlap(training, data.validation)
        groups = "" if used.groups is None else f", {settings.GROUP_COLUMN}s {used.groups:.1%}"
        say("", f"in the {len(training):,} rows trained on: texts {used.texts:.1%}{groups}")
    say("", "so validation scores are INFLATED: they measure memory as well as understanding")


def say_classes(data):
    training = Counter(data.training.labels)
    rows = training + Counter(data.validation.labels)
    say("classes", ", ".join(f"{name} {training[name] / len(data.training):.1%}"
                             + (f" ({training[name]})" if training[name] < SMALL_CLASS else "") for name in data.names))
    rare = [name for name in data.names if rows[name] < FEWEST_ROWS_OF_CLASS]
    if rare:
        told = ", ".join(f"{name} {rows[name]}" for name in rare[:MOST_ALIKE_TOLD])
        more = f", ... ({len(rare)} classes)" if len(rare) > MOST_ALIKE_TOLD else ""
        say("", f"too few rows to learn or to score a class: {told}{more}")
    say("guessing", f"loss {data.baseline.loss:.4f} by class frequency, accuracy {data.baseline.accuracy:.3f} "
                    f"by always saying {data.baseline.largest_class}")


def say_encoder(source, model_name):
    say("encoder", source.name)
    say("", f"NOT {model_name}: {source.reason}" if source.is_fallback else f"from {source.reason}")


def say_model(model, precision, why_padded):
    """What the model runs on and how; why_padded: why its encoder cannot run texts end to end, or ''."""
    say("device", torch.cuda.get_device_name() if precision.device.type == "cuda" else
        f"cpu, {torch.get_num_threads()} threads")
    say("precision", f"{precision.name}    {precision.reason}")
    say("padding", "none computed outside attention: a batch's texts run end to end" if not why_padded else
        f"batches of like length; {type(model.encoder).__name__} cannot run texts end to end: {why_padded}")


def say_processes(team, settings, precision):
    say("processes", f"{team.size} with {settings.BATCH_SIZE} texts each: {team.size * settings.BATCH_SIZE} a batch")
    if precision.device.type != "cuda" and settings.HEAD == "batchnorm":
        say("", "BatchNorm takes its statistics from each process's own texts: only CUDA can share them")


def say_parameters(model):
    for line, text in enumerate(model.parameter_table().splitlines()):
        say("parameters" if line == 0 else "", text)


def say_recipe(settings, measured):
    """Which constants are the measured recipe's and which of them were given by name instead."""
    if settings.RECIPE == "guide":
        say("recipe", "guide: the constants as they stand")
        return
    own = [name for name in measured if name not in settings.by_name]
    by_name = [name for name in measured if name in settings.by_name]
    say("recipe", "measured: " + ", ".join(f"{name}={getattr(settings, name)}" for name in own))
    if by_name:
        say("", "by name:  " + ", ".join(f"{name}={getattr(settings, name)}" for name in by_name))


def say_plan(optimizer, schedule, warm_up, steps_per_epoch, steps):
    """The whole schedule before any time is spent on it: the highest rate of all groups, as the epochs' lines tell it."""
    say("schedule", f"{steps:,} optimizer steps, {steps_per_epoch:,} an epoch; warm-up {warm_up:,} steps")
    highest = max(group["initial_lr"] for group in optimizer.param_groups)
    points = sorted({0, warm_up // 2, warm_up, (warm_up + steps) // 2, steps - 1})
    rates = [highest * schedule.lr_lambdas[0](point) for point in points]
    say("", "rate at step " + ", ".join(f"{point + 1:,}: {rate:.2g}" for point, rate in zip(points, rates)))


def say_merged(rows):
    """How many rows are too few for a last batch of their own."""
    if rows:
        say("", f"the last batch of an epoch would have {rows} rows only; they join the batch before it")


def say_look(judgement):
    """The doctor's checks that need no training: one line when all is well, the findings when not."""
    for line, text in enumerate(told(judgement)):
        say("look" if line == 0 else "", text)


# What an epoch's figures mean: the tuning table of the guide from which these scripts grew, as shares of the loss of
# guessing on this data. Its bounds 1.38, 1.0 and 0.5 were written for four equal classes, where guessing costs ln 4.
MEANINGS = ((0.98, "no better than guessing"),
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
    return next((text for bound, text in MEANINGS if last["val_loss"] > bound * baseline.loss),
                "the validation loss is not a number: weights or activations have overflowed")


def say_epoch(history, baseline, warning):
    """One line an epoch; it begins as the guide's examples do."""
    last = history[-1]
    skipped = f" | {last['skipped_steps']} steps skipped by the scaler" if last["skipped_steps"] else ""
    inflated = f" ({warning})" if warning else ""
    told = meaning(history, baseline)
    if told == MEANINGS[0][1] and not warning:      # a warning says why
        told += "; python diagnose_bert.py says why"
    print(f"Epoch {last['epoch']}: Loss={last['train_loss']:.4f}, Acc={last['train_acc']:.4f} | "
          f"validation loss {last['val_loss']:.4f}, accuracy {last['val_acc']:.4f}, macro-F1 {last['val_macro_f1']:.4f}"
          f"{inflated} | rate {last['lr']:.2g} | {last['seconds']:.1f} s, {last['samples_per_second']:.0f} examples/s"
          f"{skipped} | {told}", flush=True)


def say_scores(data, place, progress):
    """Scores by class, and the best epoch's beside its baselines."""
    best, baseline, rows = progress.best, data.baseline, len(data.validation)
    report, matrix = classes_told(data.names, data.labels, best["probabilities"].argmax(axis=1))
    print(f"\n{report}\n{matrix}" if len(data.names) <= MOST_CLASSES_TOLD else
          f"\n{len(data.names)} classes: their scores are in {place.folder / 'classification_report.txt'}\n")
    margin = 1.96 * math.sqrt(best["val_acc"] * (1 - best["val_acc"]) / rows)
    warning, inflated = (f"   {text}" if text else "" for text in (data.warning, data.overlap.warning))
    say("best", f"epoch {best['epoch']} of {len(progress.history)}, chosen by macro-F1 on these same {rows:,} rows; "
                f"{best['encoder']}")
    print(f"{'':<11}{'':<32}{'accuracy':>9}{'macro-F1':>10}")
    print(f"{'':<11}{'this model':<32}{best['val_acc']:>9.3f}{best['val_macro_f1']:>10.3f}   "
          f"accuracy ± {margin:.3f} (95 %, from {rows:,} rows){warning}")
    print(f"{'':<11}{baseline.linear_model:<32}{baseline.linear_accuracy:>9.3f}{baseline.linear_macro_f1:>10.3f}"
          f"{inflated}")
    print(f"{'':<11}{'always ' + baseline.largest_class:<32}{baseline.accuracy:>9.3f}")


def say_results(folder, seconds, model):
    """The last lines: how long it took, where everything lies, and how the model is used."""
    say("time", f"{seconds:.0f} s in all")
    say("results", f"{folder}, for people in {folder / 'report.html'}")
    say("next", f"BertSentimentClassifier.from_pretrained({str(folder / 'best')!r}).predict([\"...\"]"
        + (", second_texts=[\"...\"])" if model.second_text_column else ")"))
    if same_class(model):
        say("", f"transformers alone reads it too: pipeline(\"text-classification\", {str(folder / 'best')!r})")
    elif model.head == "linear":
        say("", f"transformers alone has no class for a linear head on {model.pooling}: train with POOLING=pooler where "
            "one is needed, or use --EXPORT=onnx")
