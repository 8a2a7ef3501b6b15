"""How much of a run is observed, and how closely."""

STEPS = 40              # optimizer steps that are observed
FEWEST_STEPS = 8        # never fewer, however slow they are
STILL_STEPS = 12        # that could move no weight are enough
STEPPING_SECONDS = 35   # of stepping, after which FEWEST_STEPS will do
FORWARD_SECONDS = 30    # of going on to the epoch's end, into the next epoch and to the script's end
FORWARD_STEPS = 2       # optimizer steps of the next epoch that are still seen
FORWARD_BATCHES = 4     # batches of each validation pass while going on that cannot be seen whole
EVALUATION_SECONDS = 15     # of FORWARD_SECONDS, for validation passes that are seen whole
BEFORE_SECONDS = 30     # of one evaluation before the first training step
BACKWARDS = 60          # backward calls without any optimizer step that are enough
BACKWARDS_STEPPED = 300     # the same where the source has a step() call that may still come
WRITE_EVERY = 5         # seconds between two records written while observing
KEPT_BATCHES = 8        # training batches whose inputs are kept for the controls
CLOSE_STEPS = 3         # the first steps are measured closely, then every CLOSE_EVERY-th
CLOSE_EVERY = 8


def is_close(record):
    """Is the step to come one of those measured closely?"""
    number = len(record.steps)
    return number < CLOSE_STEPS or number % CLOSE_EVERY == 0
