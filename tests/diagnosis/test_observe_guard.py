"""What every observing method promises: the script never feels it."""

import os

from diagnosis.observe.guard import MOST_ERRORS, Guard, quietly


class Eyes:
    def __init__(self):
        self.guard, self.seen = Guard([]), []

    @quietly
    def sees(self, thing):
        self.seen.append(thing.name)
        return thing.name

    @quietly
    def sees_while_at_work(self, thing):
        return self.sees(thing)


class Thing:
    name = "thing"


def test_an_observing_method_gives_what_it_gives():
    assert Eyes().sees(Thing()) == "thing"


def test_an_error_of_an_observing_method_is_noted_with_its_line_and_goes_no_further():
    eyes = Eyes()
    assert eyes.sees(None) is None
    error, = eyes.guard.errors
    assert error.startswith("AttributeError") and "test_observe_guard.py:" in error and not eyes.guard.quiet


def test_what_the_observer_does_itself_is_not_observed():
    eyes = Eyes()
    assert eyes.sees_while_at_work(Thing()) is None and eyes.seen == []


def test_a_process_that_the_script_forks_is_left_alone():
    eyes = Eyes()
    eyes.guard.pid = os.getppid()
    assert eyes.sees(Thing()) is None and eyes.seen == [] and not eyes.guard.in_own_process()


def test_errors_without_end_are_noted_only_so_often():
    eyes = Eyes()
    for _ in range(2 * MOST_ERRORS):
        eyes.guard.attempt(int, "no number")
    assert len(eyes.guard.errors) == MOST_ERRORS
