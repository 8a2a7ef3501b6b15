"""the model is made or loaded anew within the run, and forgets what it learned

What it is
    The line that makes the model, or that loads its first weights, stands inside the loop over epochs or batches (or
    in a function that the loop calls): each round begins where the first began.

How it shows
    The loss falls within an epoch and jumps back at the next; more epochs do not help. The score is that of the last
    round alone. An optimizer made before the loop goes on moving a model that nobody uses.

How it is found
    A model of the same class and form that is trained after the first; or trained weights that are, bit for bit, what
    they were before the first step again. The loops around the making and the steps tell rounds of one training from
    folds, seeds and trials: within those there is a loop over epochs.

Wrong
    for epoch in range(epochs):
        model = BertForSequenceClassification.from_pretrained("pretrained", num_labels=2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()

Right
    model = BertForSequenceClassification.from_pretrained("pretrained", num_labels=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(epochs):
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()

Not to be confused with
    A new model for every fold of a cross-validation, for every seed or every setting tried; the best weights so far,
    loaded again after an epoch; a teacher or an average beside the model.
"""

import re

from diagnosis.cures import mends
from diagnosis.record.record import place
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "model"
EFFECT = "stops"
CAUSED_BY = ()

# Of the loop's line: what it counts is a round of one training; or something that each has a model of its own.
ROUNDS = re.compile(r"\b(?:\w*epochs?\w*|ep|e|steps?|\w*iter\w*|rounds?)\b", re.IGNORECASE)
RUNS = re.compile(r"fold|seed|trial|split|lr|rate|config|param|model|member|ensemble|grid|repeat|runs?\b|exp",
                  re.IGNORECASE)


def check(record):
    if not record.steps:
        return NotMeasured("no optimizer step was seen")
    found = [remaking for remaking in record.remakings if remaking.kind == "model"]
    if not found:
        return None if len({step.epoch for step in record.steps}) > 1 else NotMeasured(
            "no step of a second epoch was seen")
    library = bool(record.library)
    remaking = next((each for each in found if within_one_training(each, library)), None)
    if remaking is None:
        unknown = [each for each in found if each.loop is None]
        return NotMeasured("a model was made anew, and what for is not known") if unknown else None
    made = "made anew" if remaking.how == "made" else "set back to its first weights"
    return Finding(
        "error", f"the model is {made} {'at every step' if loops_within(remaking, library) == 0 else 'in every epoch'}",
        {"times_seen": len(remaking.at), "after_steps": remaking.at[:8], "loop": remaking.loop.code},
        "What it has learned is thrown away each time, and learning begins at the first step again.",
        f"make the model and load its weights once, before the loop in {place(remaking.loop)}", remaking.site)


def within_one_training(remaking, library):
    """The loop that makes the model goes over batches or epochs, not over folds or settings that have epochs."""
    if remaking.loop is None or remaking.loops_within is None:
        return False
    within = loops_within(remaking, library)
    if within == 0:
        return True
    code = remaking.loop.code
    counts = code.removeprefix("for ").partition(" in ")[0]
    return within == 1 and bool(ROUNDS.search(code)) and not RUNS.search(counts)


def loops_within(remaking, library):
    """Loops between the making and the steps: the script's, and where a library trains, that one's over its epochs."""
    return remaking.loops_within + library


def mend(record):
    return mends.Mend("each pass of the model with the weights that the last step left", {"keep_weights": None})
