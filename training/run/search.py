"""TRIALS_BUDGET: trials drawn from ranges by optuna until their time is over, poor ones ended early, and a table of all.

The trials lie in OUTPUT_DIR-search/, each in its folder like any run; trials.log, optuna's journal, knows which are done.
"""

import shlex
import sys
import time
from pathlib import Path

from training.constants import name_of
from training.run.screen import say
from training.run.trials import write_trial_result
from training.run.trouble import RunError
from training.settings import SettingError

SHOWN_TRIALS = 10       # the best, in the table
WHOLE_TRIALS = 3        # that run to their end before others are held against them
OF_SEARCH = ("TRIALS_BUDGET", "OUTPUT_DIR", "RESUME")


def search(ranges, arguments, read, train):
    """Draw and run trials until TRIALS_BUDGET minutes of training are over, of earlier calls too; the exit status.

    Args:
        ranges: {constant: (lowest, highest), drawn by its logarithm, or a list of values}.
        read: the script's, arguments -> settings.
        train: the script's, (settings, arguments, command that goes on after an interruption, hopeless=) -> exit status.

    Raises:
        SettingError: optuna is not installed, or a constant of the ranges was given by name.
    """
    base = read(arguments)
    named = {name_of(argument) for argument in arguments} & set(ranges)
    ranges = {name: values for name, values in ranges.items() if name not in named}
    if not ranges:
        raise SettingError("TRIALS_BUDGET: every constant of RANGES is given by name; nothing is left to draw")
    given = [argument for argument in arguments if name_of(argument) not in OF_SEARCH]
    command = shlex.join(["python", sys.argv[0], *given, f"--OUTPUT_DIR={base.OUTPUT_DIR}",
                          f"--TRIALS_BUDGET={base.TRIALS_BUDGET}"])
    above = Path(f"{base.OUTPUT_DIR}-search")
    study = open_study(above, base.SEED)
    while spent(study) < 60 * base.TRIALS_BUDGET:
        trial = study.ask()
        drawn = [f"{name}={draw(trial, name, values)}" for name, values in ranges.items()]
        folder = above / trial.user_attrs.get("folder", f"trial-{trial.number}")
        trial.set_user_attr("folder", folder.name)
        settings = read([*given, *(f"--{one}" for one in drawn), f"--OUTPUT_DIR={folder}", "--RESUME=True",
                         "--TRIALS_BUDGET=0"])
        say("trial", f"{trial.number + 1}, {spent(study) / 60:.1f} of {base.TRIALS_BUDGET:g} minutes: {' '.join(drawn)}")
        status = run_trial(study, trial, settings, lambda hopeless: train(settings, arguments, command,
                                                                          hopeless=hopeless))
        if status:
            return status
        print()
    say_search(study, given, base)
    return 0


def open_study(above, seed):
    """optuna's study of the trials in a folder; what was under way when the last call ended is to be gone on with."""
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise SettingError("TRIALS_BUDGET needs the library optuna: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    above.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(above / "trials.log")))
    study = optuna.create_study(storage=storage, study_name="trials", direction="maximize", load_if_exists=True,
                                sampler=optuna.samplers.TPESampler(seed=seed),
                                pruner=optuna.pruners.MedianPruner(n_startup_trials=WHOLE_TRIALS, n_warmup_steps=2))
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={"folder": trial.user_attrs.get("folder", f"trial-{trial.number}")})
    return study


def spent(study):
    """Seconds that the finished trials took."""
    return sum(trial.user_attrs.get("seconds", 0.0) for trial in study.get_trials())


def draw(trial, name, values):
    """The trial's value of a constant; numbers with three digits, as people write them."""
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    return f"{trial.suggest_float(name, *values, log=True):.3g}"


def run_trial(study, trial, settings, train):
    """Run a trial and note what came of it; the exit status of an interruption, else 0."""
    from optuna.trial import TrialState
    began, ended_early = time.monotonic(), []

    def hopeless(history):
        trial.report(history[-1]["val_macro_f1"], history[-1]["epoch"])
        ended_early[:] = [trial.should_prune()]
        return "below the median of the trials before" if ended_early[0] and len(history) < settings.NUM_EPOCHS else ""

    try:
        status = train(hopeless)
    except RunError as error:       # the other trials may do better
        say("", f"failed: {error}")
        trial.set_user_attr("seconds", time.monotonic() - began)
        study.tell(trial, state=TrialState.FAIL)
        return 0
    if status:
        return status       # still running, as far as the journal knows
    best = write_trial_result(Path(settings.OUTPUT_DIR), settings)["best"]
    trial.set_user_attr("seconds", time.monotonic() - began)
    trial.set_user_attr("best", best)
    if any(ended_early):
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, best["val_macro_f1"])
    return 0


def say_search(study, given, base):
    """The best trials by macro-F1, and the command that trains the best of them on all rows."""
    done = sorted((trial for trial in study.get_trials() if "best" in trial.user_attrs),
                  key=lambda trial: -trial.user_attrs["best"]["val_macro_f1"])
    if not done:
        say("search", "no trial came to its end")
        return
    print(f"{'epoch':>5}{'accuracy':>10}{'macro-F1':>10}{'seconds':>9}  trial")
    for trial in done[:SHOWN_TRIALS]:
        best, early = trial.user_attrs["best"], "  (ended early)" if trial.state.name == "PRUNED" else ""
        print(f"{best['epoch']:>5}{best['val_acc']:>10.3f}{best['val_macro_f1']:>10.3f}"
              f"{trial.user_attrs['seconds']:>9.0f}  {told(trial)}{early}")
    say("search", f"{len(done)} trials, chosen by macro-F1 on the same validation rows: the best one's is flattered")
    kept = [argument for argument in given if name_of(argument) != "MAX_TRAIN_ROWS"]
    best = [f"--{one}" for one in told(done[0]).split()]
    say("next", shlex.join(["python", sys.argv[0], *kept, *best, f"--OUTPUT_DIR={base.OUTPUT_DIR}"]))


def told(trial):
    """A trial's constants, as in "HEAD=linear LEARNING_RATE=0.0001"."""
    return " ".join(f"{name}={f'{value:.3g}' if isinstance(value, float) else value}"
                    for name, value in trial.params.items())
