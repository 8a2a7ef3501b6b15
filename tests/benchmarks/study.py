"""What each setting is worth: the strategies, the schedule right and wrong, the heads, every option; three seeds each.

    python tests/benchmarks/study.py --TRAIN_PATH=... [any constant of BERT_main_aggressive.py]
    python tests/benchmarks/study.py --jobs=2 --results=study.jsonl --TRAIN_PATH=...
    python tests/benchmarks/study.py --only='5e-5|2e-5' --TRAIN_PATH=...         the settings whose names match
    python tests/benchmarks/study.py --validating=300 --MAX_TRAIN_ROWS=1000 --TRAIN_PATH=...    on fewer idle rows

Every run is one of BERT_main_aggressive.py, in a process of its own. A seed draws the split, the rows, the order and
the head's first weights, and is the same for all settings: one column is the mean difference from the first line, seed
by seed, with its standard deviation. With TEST_SHARE or TEST_PATH the scores are those of the test rows, which
choose nothing, else of the best epoch's validation rows. With SECOND_TEXT_COLUMN the settings whose names say so read
the text alone all the same; their rows are split otherwise, since equal texts that are paired differently then stay
together. A line of --results is a finished run; called again with the same file, the study goes on where it stopped.
`per epoch` is the schedule of the guide: warm-up 300 steps, made for all steps and stepped once after each epoch. What
worth_trying.py holds is measured on top of the measured recipe.
"""

import argparse
import json
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")       # one core a run
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import transformers

import BERT_main_aggressive as script
from training.constants import name_of
from training.run import data
from worth_trying import WAYS

SEEDS = (1, 2, 3)
GUIDE_WARMUP = 300          # steps
AS_IT_STANDS = "none, 5e-5, BatchNorm head"
SETTINGS = {                # name -> constants; the first is what the others are held against
    AS_IT_STANDS: ["ENSEMBLE=2"],
    "embed": ["FREEZE_STRATEGY=embed"],
    "half": ["FREEZE_STRATEGY=half"],
    "full": ["FREEZE_STRATEGY=full"],
    "full, 2e-5": ["FREEZE_STRATEGY=full", "LEARNING_RATE=2e-5"],
    "full, 2e-5, per epoch": ["FREEZE_STRATEGY=full", "LEARNING_RATE=2e-5"],
    "none, 5e-5, per epoch": [],
    "linear head": ["HEAD=linear"],
    "the text alone": ["SECOND_TEXT_COLUMN="],
    "first token": ["POOLING=cls"],
    "pooler": ["POOLING=pooler"],
    "measured": ["RECIPE=measured"],
    "measured, no moving average": ["RECIPE=measured", "EMA_STEPS=0"],
    "measured, the text alone": ["RECIPE=measured", "SECOND_TEXT_COLUMN="],
    "measured, batchnorm head": ["RECIPE=measured", "HEAD=batchnorm"],
    "measured, batches of 32": ["RECIPE=measured", "BATCH_SIZE=32"],
    "measured, batchnorm head, batches of 32": ["RECIPE=measured", "HEAD=batchnorm", "BATCH_SIZE=32"],
    "measured, rate 1e-4": ["RECIPE=measured", "LEARNING_RATE=1e-4"],
    "measured, lower layers x 0.9": ["RECIPE=measured", "LAYER_LR_DECAY=0.9"],
    "measured, 6 epochs": ["RECIPE=measured", "NUM_EPOCHS=6"],
    "LAYER_LR_DECAY 0.95": ["LAYER_LR_DECAY=0.95"],
    "HEAD_LEARNING_RATE 5e-4": ["HEAD_LEARNING_RATE=5e-4"],
    "LABEL_SMOOTHING 0.1": ["LABEL_SMOOTHING=0.1"],
    "CLASS_WEIGHTS": ["CLASS_WEIGHTS=True"],
    "AUGMENT reverse": ["AUGMENT=reverse"],
    "AUGMENT delete": ["AUGMENT=delete"],
    "AUGMENT swap": ["AUGMENT=swap"],
    "AUGMENT synonyms": ["AUGMENT=synonyms"],
} | {f"measured, {way}": ["RECIPE=measured"] for way in WAYS}


class OncePerEpoch:
    """A schedule whose step() counts only at the end of an epoch: the guide's mistake, made on purpose."""

    def __init__(self, schedule, steps_per_epoch):
        self.schedule, self.steps_per_epoch, self.calls = schedule, steps_per_epoch, 0
        self.lr_lambdas = schedule.lr_lambdas

    def step(self):
        self.calls += 1
        if self.calls % self.steps_per_epoch == 0:
            self.schedule.step()

    def state_dict(self):
        return self.schedule.state_dict()


def one_run(job):
    """Train once; the line of the results. Its screen goes nowhere."""
    name, seed, constants = job
    if name.endswith("per epoch"):
        script.look = script.screen.say_look = lambda *arguments: None      # it would say what is wrong
        script.make_schedule = lambda optimizer, steps, warmup_ratio: OncePerEpoch(
            transformers.get_linear_schedule_with_warmup(optimizer, GUIDE_WARMUP, steps),
            steps // epochs_of(constants))
    if name.removeprefix("measured, ") in WAYS:
        WAYS[name.removeprefix("measured, ")](script)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.devnull, "w") as nowhere:
            sys.stdout = sys.stderr = nowhere
            own = {name_of(f"--{one}") for one in SETTINGS[name]}
            arguments = [*(one for one in constants if name_of(one) not in own),
                         *(f"--{one}" for one in SETTINGS[name]), f"--SEED={seed}", "--SAVE_EVERY=0",
                         f"--OUTPUT_DIR={folder}/run"]
            status = script.main(arguments)
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        if status:
            raise SystemExit(f"{name}, seed {seed}: ended with status {status}: {' '.join(arguments)}")
        run = Path(folder) / "run"
        config = json.loads((run / "config.json").read_text("utf-8"))
        epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
        averages = json.loads((run / "ensemble.json").read_text("utf-8")) if (run / "ensemble.json").exists() else {}
        tested = json.loads((run / "test_scores.json").read_text("utf-8"))["scores"] if config["test_rows"] else {}
    best = max(epochs, key=lambda epoch: epoch["val_macro_f1"])
    scores, baseline = {"accuracy": best["val_acc"], "macro_f1": best["val_macro_f1"]}, config["baseline"]
    if tested:      # averages are of the validation rows, and not to be held against these
        scores, linear, always = tested.values()
        averages, baseline = {}, {"linear_accuracy": linear["accuracy"], "linear_macro_f1": linear["macro_f1"],
                                  "accuracy": always["accuracy"]}
    return {"name": name, "seed": seed, "accuracy": scores["accuracy"], "macro_f1": scores["macro_f1"],
            "first_loss": epochs[0]["train_loss"], "last_loss": epochs[-1]["train_loss"], "averages": averages,
            "baseline": baseline, "encoder": config["encoder"], "training_rows": config["training_rows"],
            "validation_rows": config["validation_rows"], "test_rows": config["test_rows"], "epochs": len(epochs),
            "processor_seconds": time.process_time(), "device": config["device"], "precision": config["precision"],
            "versions": config["versions"]}


def epochs_of(constants):
    return script.settings_from(constants).NUM_EPOCHS


def table(results):
    """Lines of the table: mean and standard deviation over the seeds, and the difference from the first setting."""
    by_name = {}
    for one in results:
        by_name.setdefault(one["name"], {})[one["seed"]] = one
        for what, scores in one["averages"].items():
            by_name.setdefault(f"ENSEMBLE 2, {what}", {})[one["seed"]] = one | scores
        alone = ", the text alone" if "text alone" in one["name"] else ""      # reads, and is split, otherwise than pairs
        by_name.setdefault(f"LinearSVC over TF-IDF{alone}", {})[one["seed"]] = {
            "accuracy": one["baseline"]["linear_accuracy"], "macro_f1": one["baseline"]["linear_macro_f1"]}
        by_name.setdefault("always the largest class", {})[one["seed"]] = {"accuracy": one["baseline"]["accuracy"]}
    order = [name for name in SETTINGS if name in by_name] + [name for name in by_name if name not in SETTINGS]
    reference = by_name[order[0]]
    lines = ["| | Loss, epoch 1 → last | accuracy | macro-F1 | accuracy against the first line | processor, s |",
             "| --- | --- | --- | --- | --- | --- |"]
    for name in order:
        runs = by_name[name]
        losses = f"{mean(runs, 'first_loss'):.3f} → {mean(runs, 'last_loss'):.3f}" \
            if name in SETTINGS else ""
        f1 = spread([one["macro_f1"] for one in runs.values()]) if "macro_f1" in next(iter(runs.values())) else ""
        gains = [one["accuracy"] - reference[seed]["accuracy"] for seed, one in runs.items() if seed in reference]
        gain = spread(gains, sign=True) if name != order[0] and gains else ""
        seconds = f"{mean(runs, 'processor_seconds'):.0f}" if name in SETTINGS else ""
        lines.append(f"| {name} | {losses} | {spread([one['accuracy'] for one in runs.values()])} | {f1} | {gain} | "
                     f"{seconds} |")
    return lines


def mean(runs, figure):
    return statistics.fmean(one[figure] for one in runs.values())


def spread(values, sign=False):
    shown = f"{statistics.fmean(values):+.3f}" if sign else f"{statistics.fmean(values):.3f}"
    return shown + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on one core")
    parser.add_argument("--results", default="study.jsonl", help="file of the finished runs, read and added to")
    parser.add_argument("--validating", type=int, default=data.IDLE_ROWS,
                        help="idle rows that validate where MAX_TRAIN_ROWS leaves some")
    parser.add_argument("--only", default="", help="a regular expression for the names of the settings")
    options, constants = parser.parse_known_args()
    data.IDLE_ROWS = options.validating
    path = Path(options.results)
    results = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    finished = {(one["name"], one["seed"]) for one in results}
    jobs = [(name, seed, constants) for seed in SEEDS for name in SETTINGS
            if (name, seed) not in finished and re.search(options.only, name)]
    with multiprocessing.get_context("fork").Pool(options.jobs, maxtasksperchild=1) as pool:
        for number, result in enumerate(pool.imap_unordered(one_run, jobs, chunksize=1), start=1):
            results.append(result)
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            print(f"{number} of {len(jobs)}: {result['name']}, seed {result['seed']}: {result['accuracy']:.3f}",
                  file=sys.stderr, flush=True)
    print("\n".join(table(results)))
    one = results[0]
    print(f"\n{one['encoder']}; {one['training_rows']:,} rows to train on, {one['validation_rows']:,} to validate on, "
          f"{one['test_rows']:,} to test on, {one['epochs']} epochs, seeds "
          f"{', '.join(map(str, sorted({each['seed'] for each in results})))}; {one['device']} {one['precision']}, "
          f"torch {one['versions']['torch']}, transformers {one['versions']['transformers']}")


if __name__ == "__main__":
    main()
