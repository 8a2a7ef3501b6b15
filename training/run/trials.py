"""RUN_TRIALS: one run for each trial of a list, and a table of all."""

import json
import math
import shlex
import sys
from pathlib import Path

from training.constants import name_of
from training.files import write_whole
from training.run.screen import say
from training.run.state import table_sums
from training.run.trouble import RunError


def run_trials(trials, arguments, read, train):
    """One run for each trial that is not finished yet, then a table of all; returns the exit status.

    Args:
        trials: the constants that each changes, as in "HEAD=linear BATCH_SIZE=16".
        read: the script's, arguments -> settings.
        train: the script's, (settings, arguments, command that goes on after an interruption) -> exit status.
    """
    base = read(arguments)
    given = [argument for argument in arguments if name_of(argument) not in ("RUN_TRIALS", "OUTPUT_DIR", "RESUME")]
    command = shlex.join(["python", sys.argv[0], *given, f"--OUTPUT_DIR={base.OUTPUT_DIR}", "--RUN_TRIALS=True"])
    results = []
    for number, trial in enumerate(trials, start=1):
        folder = Path(f"{base.OUTPUT_DIR}-trials") / (trial.replace("/", "_") or "as it stands")
        settings = read([*given, *(f"--{change}" for change in trial.split()), f"--OUTPUT_DIR={folder}",
                         "--RESUME=True", "--RUN_TRIALS=False"])
        say("trial", f"{number} of {len(trials)}: {trial or 'the constants as they stand'}")
        result = finished_trial(folder, settings)
        if result is None:
            try:
                status = train(settings, arguments, command)
                if status:
                    return status
                result = write_trial_result(folder, settings)
            except RunError as error:       # the other trials may do better
                result = {"failed": str(error)}
            print()
        results.append((trial, result))
    say_trials(results)
    return 0


def write_trial_result(folder, settings):
    """What a finished trial came to, written into its folder with the constants and tables that it was made with."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    result = {"constants": vars(settings), "tables": table_sums(settings),
              "best": max(epochs, key=lambda epoch: epoch["val_macro_f1"]), "baseline": config["baseline"],
              "rows": config["validation_rows"], "encoder": config["encoder"],
              "seconds": sum(epoch["seconds"] for epoch in epochs)}
    write_whole(folder / "trial.json", json.dumps(result, indent=2) + "\n")
    return result


def finished_trial(folder, settings):
    """The result of a trial that was finished before with the same constants on the same tables, or None."""
    try:
        result = json.loads((folder / "trial.json").read_text("utf-8"))
        same = result["constants"] == vars(settings) and result.get("tables") == table_sums(settings)
    except (OSError, ValueError):       # not finished, or a table is gone, of which the run itself tells
        return None
    return result if same else None


def say_trials(results):
    """The trials by macro-F1, the best first, and the baselines."""
    done = [(trial, result) for trial, result in results if "best" in result]
    print(f"{'trial':<32}{'epoch':>7}{'accuracy':>10}{'macro-F1':>10}{'seconds':>9}")
    for trial, result in sorted(done, key=lambda pair: -pair[1]["best"]["val_macro_f1"]):
        best = result["best"]
        print(f"{trial or 'as it stands':<32}{best['epoch']:>7}{best['val_acc']:>10.3f}{best['val_macro_f1']:>10.3f}"
              f"{result['seconds']:>9.0f}")
    if done:
        baseline, rows = done[0][1]["baseline"], done[0][1]["rows"]
        print(f"{baseline['linear_model']:<39}{baseline['linear_accuracy']:>10.3f}{baseline['linear_macro_f1']:>10.3f}")
        print(f"{'always ' + baseline['largest_class']:<39}{baseline['accuracy']:>10.3f}")
        print(f"{done[0][1]['encoder']}; one seed, {rows:,} validation rows: accuracies within "
              f"{1.96 * math.sqrt(0.5 / rows):.3f} of each other are alike")
    for trial, result in results:
        if "failed" in result:
            print(f"{trial or 'as it stands':<32}failed: {result['failed']}")
