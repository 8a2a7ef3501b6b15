"""When enough was seen, and what a run that is cut short must not write."""

import os
import tempfile
import time
from types import SimpleNamespace

import pytest

from diagnosis.observe.files import Files, writes
from diagnosis.observe.guard import Guard
from diagnosis.observe.limits import (BACKWARDS, BACKWARDS_STEPPED, BEFORE_SECONDS, EVALUATION_SECONDS, FEWEST_STEPS,
                                      FORWARD_BATCHES, FORWARD_SECONDS, FORWARD_STEPS, STEPPING_SECONDS, STEPS,
                                      STILL_STEPS, is_close)
from diagnosis.observe.stopping import Stopping, stand_still
from diagnosis.observe.untouched.old_files import OldFiles
from diagnosis.record.record import Batch, Record, Step


class Ended(Exception):
    """In these tests the run does not end by ending the process."""


class Guarded:
    """Files, without the hook that this process could never take off again."""
    guarded = False

    def guard_all(self):
        self.guarded = True


def end(ended):
    raise Ended(ended)


@pytest.fixture
def stopping():
    return Stopping(Record(), Guarded(), end)


def after_steps(stopping, count, iteration=None, training=None):
    stopping.start_clock()
    for _ in range(count):
        stopping.record.steps.append(Step(len(stopping.record.steps)))
        stopping.after_step(iteration, training, still=False)


def in_epoch(epochs=1):
    training = SimpleNamespace(trained=epochs)
    return SimpleNamespace(active=True, trained=True, seen_loader=training, fetched=0), training


def test_without_a_loader_the_run_goes_on_to_its_evaluation_and_ends_when_it_trains_again(stopping):
    stopping.record.batches.append(Batch("validation", 0, 4, gradient_enabled=False))     # before training
    after_steps(stopping, STEPS)
    assert stopping.files.guarded and stopping.training_over
    stopping.trains_again()
    stopping.record.batches.append(Batch("validation", STEPS, 4, gradient_enabled=False))
    stopping.check()
    with pytest.raises(Ended, match="enough seen"):
        stopping.trains_again()


def test_steps_that_move_no_weight_are_soon_enough(stopping):
    steps = [Step(number, gradient_norm=1.0) for number in range(STILL_STEPS)]
    assert stand_still(steps, [[0.0, 0.0]] * STILL_STEPS) and not stand_still(steps, [[0.0, 1e-9]] * STILL_STEPS)
    assert not stand_still(steps[1:], [[0.0]] * (STILL_STEPS - 1)) and not stand_still(steps, [[]] * STILL_STEPS)
    without = [Step(number) for number in range(STILL_STEPS)]
    assert stand_still(without, [[1e-3]] * STILL_STEPS)
    without[3].skipped = True       # by a scaler, which tries a smaller factor next
    assert not stand_still(without, [[1e-3]] * STILL_STEPS)
    stopping.after_step(*in_epoch(), still=True)
    assert stopping.forward is not None


def test_an_evaluation_that_does_not_come_is_not_waited_for(stopping):
    after_steps(stopping, STEPS)
    stopping.check()
    stopping.running_on.began -= FORWARD_SECONDS + 1
    with pytest.raises(Ended, match="enough seen"):
        stopping.check()


def test_without_a_loader_a_trial_ends_at_the_pass_after_the_last_step(stopping):
    stopping.looks_ahead = False
    after_steps(stopping, STEPS)
    with pytest.raises(Ended, match="enough seen"):
        stopping.check()


def test_within_an_epoch_it_is_fast_forwarded_and_after_two_steps_of_the_next_training_is_left_aside(stopping):
    iteration, training = in_epoch()
    after_steps(stopping, STEPS, iteration, training)
    assert stopping.forward.step == STEPS and stopping.files.guarded
    assert stopping.ends_early(iteration, training)
    after_steps(stopping, 3, iteration, training)       # of the same epoch: accumulation may go on
    stopping.check()
    training.trained = 2
    another = in_epoch()[0]
    assert not stopping.ends_early(another, training)
    after_steps(stopping, FORWARD_STEPS, iteration, training)
    assert stopping.training_over and stopping.ends_early(another, training)
    stopping.check()                                    # the script's evaluation may still come


def validation_pass(batches, seconds, fetched=FORWARD_BATCHES):
    """A pass over a loader of so many batches that has taken so long for those fetched."""
    return SimpleNamespace(trained=False, fetched=fetched, began=time.monotonic() - seconds, looked_at=None,
                           batches=lambda: batches)


def test_a_validation_pass_goes_on_to_its_end_where_there_is_time_and_is_cut_short_where_there_is_not(stopping):
    iteration, training = in_epoch()
    after_steps(stopping, STEPS, iteration, training)
    assert not stopping.ends_early(validation_pass(40, seconds=1), training)
    slow = validation_pass(4_000, seconds=1)
    assert stopping.ends_early(slow, training)
    slow.fetched = FORWARD_BATCHES - 1
    assert not stopping.ends_early(slow, training)


def test_whole_validation_passes_share_one_budget_of_seconds(stopping):
    after_steps(stopping, STEPS, *in_epoch())
    stopping.forward.evaluating = EVALUATION_SECONDS
    assert stopping.ends_early(validation_pass(5, seconds=0.1), None)


def test_a_fast_forward_that_takes_too_long_ends_the_run(stopping):
    after_steps(stopping, STEPS, *in_epoch())
    stopping.forward.began -= FORWARD_SECONDS + 1
    with pytest.raises(Ended):
        stopping.check()


def test_slow_steps_end_sooner_but_never_before_the_fewest(stopping):
    stopping.began = time.monotonic() - STEPPING_SECONDS - 1
    after_steps(stopping, FEWEST_STEPS - 1)
    assert not stopping.training_over
    after_steps(stopping, 1)
    assert stopping.training_over


def test_backward_calls_without_a_step_end_the_run_later_where_the_source_has_a_step_call(stopping):
    stopping.start_clock()
    stopping.record.backwards = BACKWARDS
    stopping.after_backward(lambda: True)
    with pytest.raises(Ended):
        stopping.after_backward(lambda: False)
    stopping.record.backwards = BACKWARDS_STEPPED
    with pytest.raises(Ended):
        stopping.after_backward(lambda: True)


def test_the_first_steps_and_every_eighth_are_measured_closely():
    record, close = Record(), []
    for index in range(20):
        close.append(is_close(record))
        record.steps.append(Step(index))
    assert [index for index, measured in enumerate(close) if measured] == [0, 1, 2, 8, 16]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Files(Guard([]), OldFiles(tmp_path / "instead"), tmp_path / "train.py", end)


def test_a_run_that_is_cut_short_writes_no_file_beside_the_script_and_reads_what_it_likes(files, tmp_path):
    hook = files.audit(files.place_of_results())
    hook("open", (str(tmp_path / "data.csv"), "r", os.O_RDONLY))
    hook("open", (str(tmp_path / "__pycache__" / "train.pyc"), "w", 0))
    hook("open", ("/dev/null", "w", os.O_WRONLY))
    hook("open", (os.path.expanduser("~/.cache/huggingface/metrics/rows.arrow"), "wb", 0))  # evaluate's, on its way
    hook("os.listdir", (str(tmp_path),))
    for event, arguments in (("open", (str(tmp_path / "best.pt"), "wb", 0)),
                             ("open", (str(tmp_path / "best.pt").encode(), None, os.O_WRONLY)),
                             ("os.rename", (os.path.join(tempfile.gettempdir(), "part"), str(tmp_path / "a"), -1, -1)),
                             ("os.remove", (str(tmp_path / "best.pt"), -1)), ("os.mkdir", (str(tmp_path / "out"), 0))):
        with pytest.raises(Ended):
            hook(event, arguments)


def test_the_observers_own_files_are_written_although_the_run_is_cut_short(files, tmp_path):
    files.guard.quiet = True
    files.audit(files.place_of_results())("open", (str(tmp_path / "record.json"), "w", 0))


def test_which_opens_write():
    assert [writes(mode, 0) for mode in ("r", "rb", "w", "r+", "a", "xb")] == [False, False, True, True, True, True]
    assert [writes(None, flags) for flags in (os.O_RDONLY, os.O_RDWR, None)] == [False, True, False]


def test_a_long_evaluation_before_the_first_step_is_cut_short_and_nothing_else_is(stopping):
    def going_on(evaluates, seconds, fetched=FORWARD_BATCHES):
        return SimpleNamespace(evaluates=evaluates, began=time.monotonic() - seconds, fetched=fetched)

    assert stopping.ends_early(going_on(True, BEFORE_SECONDS + 1), None)
    assert not stopping.ends_early(going_on(True, BEFORE_SECONDS - 5), None)
    assert not stopping.ends_early(going_on(False, BEFORE_SECONDS + 1), None)       # features computed beforehand
    stopping.start_clock()
    assert not stopping.ends_early(going_on(True, BEFORE_SECONDS + 1), None)
