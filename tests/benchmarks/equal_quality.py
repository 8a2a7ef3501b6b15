"""Whether the script learns what transformers' Trainer learns, and what it would learn with padding; three seeds.

    python tests/benchmarks/equal_quality.py --TRAIN_PATH=... --GROUP_COLUMN=... [any constant of the script]
    python tests/benchmarks/equal_quality.py --results=equal_quality.jsonl --TRAIN_PATH=... --GROUP_COLUMN=...

A seed draws the split, the rows, the order and the head's first weights, and is the same for all. `script, padded` is
the script with its batches' padding computed, and torch's own attention. Learning rate, its schedule, weight decay and
clipping are the script's in all; the rest of the Trainer is as it makes it by default: batches drawn at random, and the
head's norms decayed too, whose names it does not know. A rest of rows that fills no batch is left out, since the two
treat it differently. All are scored after their last epoch, so that no score is chosen by the rows it is taken on. The
losses are the script's means over the training rows of each epoch. A line of --results is a finished run; called again
with the same file and constants, the comparison goes on where it stopped. The Trainer needs what
tests/requirements.txt names.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")       # one core, as in study.py
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import transformers
from sklearn.metrics import accuracy_score, f1_score
from study import spread
from throughput import device_name, make_trainer, read_rows, rows_at, script_training, starting_model

import BERT_main_aggressive as script
from training.constants import ConstantError
from training.encoder.finding import EncoderError
from training.precision import choose_precision
from training.run.data import make_loaders
from training.run.folder import versions
from training.run.state import HARMLESS
from training.settings import SettingError
from training.texts.batches import encode
from training.texts.refusal import TableError

SEEDS = (1, 2, 3)


# The ways: each trains, and returns the optimizer steps taken and each epoch's loss

def script_itself(settings, model, rows, precision):
    """As BERT_main_aggressive.py does."""
    train_epoch, steps = script_training(settings, model, rows, precision, settings.NUM_EPOCHS)
    return steps, [train_epoch(epoch)["loss"] for epoch in range(1, settings.NUM_EPOCHS + 1)]


def script_padded(settings, model, rows, precision):
    """The same, but for the padding."""
    model.first_position = None     # as if this encoder could not run texts end to end
    return script_itself(settings, model, rows, precision)


def trainer(settings, model, rows, precision):
    """transformers' Trainer, whose losses are not asked for."""
    steps = len(rows[1]) // settings.BATCH_SIZE * settings.NUM_EPOCHS
    with tempfile.TemporaryDirectory() as folder:
        run = make_trainer(settings, model, rows, precision, folder, num_train_epochs=settings.NUM_EPOCHS,
                           warmup_steps=round(settings.WARMUP_RATIO * steps))
        run.train()
    return run.state.global_step, []


SCRIPT = "script"
WAYS = {SCRIPT: script_itself, "script, padded": script_padded, "trainer": trainer}


def one_run(way, settings):
    """Train and score once; the line of the results."""
    precision = choose_precision(settings.ENABLE_FP16)
    training, validation, names = read_rows(settings)
    kept = len(training[1]) // settings.BATCH_SIZE * settings.BATCH_SIZE
    if not kept:
        raise SettingError(f"{len(training[1])} rows to train on fill no batch of {settings.BATCH_SIZE}")
    training = rows_at(training, range(kept))
    model = starting_model(settings, names, precision)
    transformers.set_seed(settings.SEED)
    steps, losses = WAYS[way](settings, model, training, precision)
    predictions = predict(settings, model, training, validation, precision)
    return {"way": way, "seed": settings.SEED, "accuracy": accuracy_score(validation[1], predictions),
            "macro_f1": f1_score(validation[1], predictions, average="macro", zero_division=0), "losses": losses,
            "steps": steps, "training_rows": kept, "validation_rows": len(predictions), "encoder": model.encoder_name,
            "device": f"{device_name(precision)} {precision.name}", "versions": versions()}


def predict(settings, model, training, validation, precision):
    """The class of each validation row."""
    encoded = [encode(*rows, model.tokenizer, settings.MAX_LENGTH) for rows in (training, validation)]
    _, loader = make_loaders(settings, encoded, model)
    logits, _ = script.evaluate(model, loader, precision)
    return logits.argmax(dim=1).numpy()


def learned_with(settings):
    """The constants that decide what is learned, but for the seed."""
    return {name: value for name, value in vars(settings).items() if name not in (*HARMLESS, "SEED")}


def finished_runs(path, settings):
    """The results in a file, none where there is no file.

    Raises:
        SettingError: they were made with other constants.
    """
    results = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    if any(one["constants"] != learned_with(settings) for one in results):
        raise SettingError(f"{path} holds runs with other constants; name another file with --results")
    return results


def compare(constants, path):
    """All results: those of the file, and the runs that it lacks, each added to it when it is finished."""
    results = finished_runs(path, script.settings_from(constants))
    finished = {(one["way"], one["seed"]) for one in results}
    jobs = [(way, seed) for seed in SEEDS for way in WAYS if (way, seed) not in finished]
    for number, (way, seed) in enumerate(jobs, start=1):
        settings = script.settings_from([*constants, f"--SEED={seed}"])
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            result = one_run(way, settings) | {"constants": learned_with(settings)}
        results.append(result)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        print(f"{number} of {len(jobs)}: {way}, seed {seed}: accuracy {result['accuracy']:.3f}, macro-F1 "
              f"{result['macro_f1']:.3f}, {result['steps']:,} steps", file=sys.stderr, flush=True)
    return results


def table(results):
    """Lines of the table: mean and standard deviation over the seeds, and of the differences seed by seed."""
    scores = ("accuracy", "macro_f1")
    by_seed = {way: {one["seed"]: one for one in results if one["way"] == way} for way in WAYS}
    lines = ["| | accuracy | macro-F1 | loss of each epoch |", "| --- | --- | --- | --- |"]
    for way, runs in by_seed.items():
        cells = [spread([one[score] for one in runs.values()]) for score in scores]
        cells.append(", ".join(spread(epoch) for epoch in zip(*(one["losses"] for one in runs.values()))))
        lines.append(f"| {way} | {' | '.join(cells)} |")
    for way in list(WAYS)[1:]:
        gains = ([one[score] - by_seed[way][seed][score] for seed, one in by_seed[SCRIPT].items()] for score in scores)
        lines.append(f"| script less {way}, seed by seed | {' | '.join(spread(gain, sign=True) for gain in gains)} | |")
    return lines


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--results", default="equal_quality.jsonl", help="file of the finished runs, read and added to")
    options, constants = parser.parse_known_args(arguments)
    try:
        results = compare(constants, Path(options.results))
    except (ConstantError, SettingError, TableError, EncoderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if len({(one["seed"], one["steps"]) for one in results}) > len(SEEDS):
        print("error: not all have taken the same number of steps", file=sys.stderr)
        return 1
    print("\n".join(table(results)))
    one = results[0]
    print(f"\n{one['encoder']}; {one['training_rows']:,} rows to train on, {one['validation_rows']:,} to validate on, "
          f"split by {one['constants']['GROUP_COLUMN'] or 'text'}; {one['constants']['NUM_EPOCHS']} epochs, "
          f"{one['steps']:,} steps; seeds {', '.join(map(str, SEEDS))}; {one['device']}, torch "
          f"{one['versions']['torch']}, transformers {one['versions']['transformers']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
