"""the same rows give different outputs in evaluation mode (functional dropout, noise)

What it is
    Something random goes on in evaluation: F.dropout without training=self.training drops always, since its own
    default is True; noise is added to embeddings or outputs whatever the mode.

How it shows
    Two evaluations of the same weights disagree; the score is lower than it should be, and model.eval() changes
    nothing.

How it is found
    Rows of the script's own evaluation go through the model twice in evaluation mode, without gradients, and the
    largest difference of an output is held against the outputs' spread.

Wrong
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(32, 2)
        def forward(self, hidden):
            return self.out(F.dropout(hidden, 0.3))
    head = Head()

Right
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(32, 2)
        def forward(self, hidden):
            return self.out(F.dropout(hidden, 0.3, training=self.training))
    head = Head()

Not to be confused with
    eval-train-mode, where model.eval() is not called. Dropout that is left on in evaluation on purpose, to tell how
    sure the model is, by putting its layers back into training mode.
"""

from diagnosis.record.arithmetic import rounded
from diagnosis.record.record import Repeated
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "evaluation"
EFFECT = "misleads"
CAUSED_BY = ()
NO_TRIAL = "the training is not what is wrong"

SLIGHT = 0.01       # of the outputs' spread: rounding on a GPU stays far below
GRAVE = 0.1


def check(record):
    twice = record.repeated or _repeated_by_control(record)
    if twice is None:
        return NotMeasured("no rows of an evaluation could be run again")
    share = twice.difference / max(twice.spread, 1e-6)
    if share < SLIGHT:
        return None
    evidence = {"rows": twice.rows, "largest_difference": rounded(twice.difference),
                "spread_of_the_outputs": rounded(twice.spread)}
    mend = "Look for what is random in the model's forward and make it depend on self.training."
    if twice.dropout is not None:
        mend = ("Give it training=self.training: F.dropout(x, p, training=self.training), or use an nn.Dropout layer, "
                "which model.eval() turns off.")
    return Finding("error" if share >= GRAVE else "warning",
                   "the same rows give other outputs when they are evaluated again", evidence,
                   "Part of each output is chance while the model is being judged, so the score is too low and differs "
                   "from call to call.", mend, twice.dropout or twice.site)


def _repeated_by_control(record):
    """Training rows that a control ran twice through a copy in evaluation mode, where no evaluation was seen."""
    control = record.control("rows-apart")
    if control is None or (control.outcome is None and "difference" not in control.figures):
        return None
    figures, called = control.figures, record.functional_dropouts
    return Repeated(figures["rows"], figures.get("difference", 0.0), figures["range_of_logits"],
                    called[0] if called else None)
