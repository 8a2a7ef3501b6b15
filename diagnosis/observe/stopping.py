"""The way to the stop: when enough was seen, then the fast-forward to the epoch's end, into the next and to the end.

Three stages: steps are observed; loaders give out early, so that validation and the next epoch come soon (`forward`);
training is left aside and only the script's own evaluation is waited for (`training_over`). Without a loader that could
give out early the script trains on, unobserved, until it has evaluated (`running_on`).
"""

import time
from dataclasses import dataclass

from diagnosis.observe import ranks
from diagnosis.observe.limits import (BACKWARDS, BACKWARDS_STEPPED, BEFORE_SECONDS, EVALUATION_SECONDS, FEWEST_STEPS,
                                      FORWARD_BATCHES, FORWARD_SECONDS, FORWARD_STEPS, STEPPING_SECONDS, STEPS,
                                      STILL_STEPS)


def stand_still(steps, rates):
    """Could none of these steps move a weight? Every rate was 0, or no gradient reached the optimizer.

    rates   of the groups, a list for each step
    """
    return len(steps) >= STILL_STEPS and (all(of_step and not any(of_step) for of_step in rates)
                                          or not any(step.gradient_norm or step.skipped for step in steps))


@dataclass
class FastForward:
    """From here on passes over loaders are cut short, so that validation and the next epoch come soon."""
    iteration: object           # the pass over the training loader that was cut
    epochs: int                 # passes over the training loader begun before it was cut, that one included
    step: int                   # optimizer steps observed before it
    began: float                # time.monotonic()
    steps: int = 0              # optimizer steps seen in the next epoch
    evaluating: float = 0.0     # seconds that whole validation passes have taken


@dataclass
class RunningOn:
    """From here on the script trains on to its next evaluation, for there is no pass over a loader to cut short."""
    began: float                # time.monotonic()
    evaluated: int              # evaluation batches seen before


class Stopping:
    """Decides when enough was seen, and then calls `end`, which does not return."""

    def __init__(self, record, files, end):
        self.record, self.files, self.end = record, files, end
        self.began = None               # time.monotonic() of the first backward or step
        self.forward = None             # the FastForward, once it began
        self.running_on = None          # the RunningOn, in its place
        self.at_next_pass = False       # so that what follows the last step in the script's loop is still seen
        self.training_over = False      # enough was seen of training; the script's evaluation may still come
        self.when_over = lambda: None   # called once when it is
        self.times = 1                  # so many times the usual steps
        self.looks_ahead = True         # to the epoch's end and the script's evaluation, once enough steps were seen

    def start_clock(self):
        if self.began is None:
            self.began = time.monotonic()

    def check(self):
        """Stop where it was decided or the fast-forward takes too long; for every point where a stop does no harm."""
        if self.at_next_pass:
            self.end("enough seen")
        going = self.forward or self.running_on
        if going is not None and time.monotonic() - going.began > FORWARD_SECONDS:
            self.end("enough seen")

    def trains_again(self):
        """A backward begins: stop where the script, running on, has evaluated meanwhile."""
        if self.running_on is not None and self.evaluated() > self.running_on.evaluated:
            self.end("enough seen")

    def evaluated(self):
        return sum(not batch.gradient_enabled for batch in self.record.batches_of("validation"))

    def ends_early(self, iteration, training):
        """Is this pass over a loader to end now, so that the script goes on? training: the training loader or None."""
        self.check()
        if self.forward is None:
            return (self.began is None and iteration.evaluates and iteration.fetched >= FORWARD_BATCHES
                    and time.monotonic() - iteration.began > BEFORE_SECONDS)
        if iteration.trained:
            return iteration is self.forward.iteration or self.training_over
        return iteration.fetched >= FORWARD_BATCHES and not self.seen_whole(iteration)

    def seen_whole(self, iteration):
        """Is there time for this validation pass to go on to its end? Its own evaluation then has every row."""
        now, forward = time.monotonic(), self.forward
        forward.evaluating += now - (iteration.looked_at or max(iteration.began, forward.began))
        iteration.looked_at = now
        batches = iteration.batches()
        if batches is None:
            return forward.evaluating < EVALUATION_SECONDS
        to_come = (now - iteration.began) / iteration.fetched * max(0, batches - iteration.fetched)
        return forward.evaluating + to_come < EVALUATION_SECONDS

    def after_backward(self, steps_in_source):
        """Stop where backward calls go on without any optimizer step.

        steps_in_source()   does the source call step() on an optimizer? Asked only where it matters: it reads files
        """
        record = self.record
        if record.steps:
            return
        slow = time.monotonic() - self.began > 2 * STEPPING_SECONDS
        if record.backwards >= BACKWARDS and (slow or not steps_in_source()):
            self.end("enough seen")
        if record.backwards >= BACKWARDS_STEPPED:
            self.end("enough seen")

    def after_step(self, iteration, training, still):
        """iteration: the pass over a loader that is going on, or None; training: the training loader or None.

        still   no step could move a weight: nothing more is learned of it by waiting
        """
        steps, now = len(self.record.steps), time.monotonic()
        if self.forward is not None:
            self.forward.steps += training is None or training.trained > self.forward.epochs
            if self.forward.steps >= FORWARD_STEPS:
                self.end_training()
        elif steps >= self.times * STEPS or self.looks_ahead and still \
                or (steps >= FEWEST_STEPS and now - self.began > self.times * STEPPING_SECONDS):
            if self.looks_ahead and iteration is not None and iteration.active and iteration.trained \
                    and not ranks.are_several():
                self.forward = FastForward(iteration, iteration.seen_loader.trained, steps, now)
                self.files.guard_all()
            elif self.looks_ahead and iteration is None and not ranks.are_several():
                self.running_on = RunningOn(now, self.evaluated())
                self.files.guard_all()
                self.end_training()
            else:
                self.stop_soon()

    def end_training(self):
        """From here on every pass over a loader that trains gives out at once, so that the script comes to its end."""
        self.training_over = True
        self.when_over()

    def stop_soon(self):
        self.at_next_pass = True
        self.files.guard_all()
