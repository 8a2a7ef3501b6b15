"""FOLDS: cross-validation, one run for each fold with that fold's rows as its test rows, and what comes of all."""

import csv
import io
import json
import shlex
import statistics
import sys
from pathlib import Path

import numpy

from training.constants import name_of
from training.files import write_whole
from training.report.page import SHOWN_WRONG, wrong_csv
from training.run.screen import say
from training.run.testing import PREDICTIONS
from training.run.trials import finished_trial, write_trial_result


def run_folds(arguments, read, train):
    """One run for each fold that is not finished yet, then the scores of all; returns the exit status.

    Every row is a test row once: its probabilities, from a model that was neither trained on it nor chosen by it, are
    in out_of_fold.csv, and the rows whose label the models doubt most in doubted_labels.csv.

    Args:
        read: the script's, arguments -> settings.
        train: the script's, (settings, arguments, command that goes on after an interruption) -> exit status.
    """
    base = read(arguments)
    given = [argument for argument in arguments if name_of(argument) not in ("OUTPUT_DIR", "RESUME")]
    command = shlex.join(["python", sys.argv[0], *given, f"--OUTPUT_DIR={base.OUTPUT_DIR}"])
    above, tested = Path(f"{base.OUTPUT_DIR}-folds"), []
    for fold in range(1, base.FOLDS + 1):
        folder = above / f"fold-{fold}"
        settings = read([*given, f"--FOLD={fold}", f"--OUTPUT_DIR={folder}", "--RESUME=True"])
        say("fold", f"{fold} of {base.FOLDS}")
        if finished_trial(folder, settings) is None:
            status = train(settings, arguments, command)
            if status:
                return status
            write_trial_result(folder, settings)
            print()
        tested.append(json.loads((folder / "test_scores.json").read_text("utf-8")))
    rows = out_of_fold(above)
    doubted = doubted_rows(rows)
    write_whole(above / "doubted_labels.csv", wrong_csv(doubted))
    say_folds(tested, above, len(rows), len(doubted))
    return 0


def out_of_fold(above):
    """The rows of all folds' predictions, by their line in the file, which out_of_fold.csv has then too."""
    rows = []
    for path in sorted(above.glob(f"fold-*/{PREDICTIONS}")):
        with open(path, newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
    rows.sort(key=lambda row: int(row["line"]))
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(above / "out_of_fold.csv", file.getvalue().encode("utf-8"))
    return rows


def doubted_rows(rows):
    """The rows whose label has the lowest probability, as confidently_wrong.csv has them, the most doubtful first."""
    wrong = sorted((row for row in rows if row["label"] != row["predicted"]),
                   key=lambda row: float(row[f"p({row['label']})"]))
    return [row | {"second": row["second_text"], "probability": float(row[f"p({row['predicted']})"])}
            for row in wrong[:SHOWN_WRONG]]


def say_folds(tested, above, rows, doubted):
    """Mean and standard deviation over the folds, of the model and its baselines."""
    say("folds", f"{len(tested)} runs, each tested on rows that it was neither trained on nor chosen by; mean ± spread")
    print(f"{'':<11}{'':<32}{'accuracy':>15}{'macro-F1':>17}")
    for names in zip(*(one["scores"] for one in tested)):
        name = names[0] if len(set(names)) == 1 else "always the largest class"
        figures = [[one["scores"][each][figure] for each, one in zip(names, tested)]
                   for figure in ("accuracy", "macro_f1")]
        shown = [f"{numpy.mean(values):.3f} ± {statistics.stdev(values):.3f}" for values in figures]
        print(f"{'':<11}{name:<32}{shown[0]:>15}{shown[1]:>17}")
    say("results", f"{above / 'out_of_fold.csv'} has all {rows:,} rows, {above / 'doubted_labels.csv'} the {doubted} "
                   "whose label is doubted most")
