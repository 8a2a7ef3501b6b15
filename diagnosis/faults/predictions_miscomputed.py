"""what is scored is not the class that the model's outputs name

What it is
    Between the model's outputs and the score the class is read off wrongly: argmax over the wrong axis or over a
    single column (which is always 0), the largest value instead of its place, a threshold of 0.5 on logits, whose
    middle is 0, or on the column of the other class.

How it shows
    The training loss falls; accuracy stays at the share of one class, or far below what the loss promises.

How it is found
    The class that the outputs name is worked out from the logits of the script's own validation passes, row by row,
    and held against the predictions that the script scored. Where they differ and one of the usual slips gives exactly
    the script's predictions, it is named; anything else (thresholds tuned on purpose, averages of several models) is
    left alone.

Wrong
    for epoch in range(epochs):
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        for batch in validation_loader:
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            print((logits[:, :1].argmax(1) == batch["labels"]).float().mean())

Right
    for epoch in range(epochs):
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        for batch in validation_loader:
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            print((logits.argmax(1) == batch["labels"]).float().mean())

Not to be confused with
    majority-class: there the largest logit itself stands in one column. head-mismatch, where a head of one output
    cannot name the classes at all.
"""

import math

from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.scored import agreement, apart, comparisons

GROUP = "evaluation"
EFFECT = "misleads"
CAUSED_BY = ("score-misaligned",)
NO_TRIAL = "the training is not what is wrong"

MATCH = 0.995       # of the predictions that a slip must give
DIFFERENT = 0.02    # of the predictions that are not the class named, at least
CONSTANT = 0.9      # of the classes named by the outputs, above which one class for all rows says nothing


def check(record):
    if record.one_column_argmax is not None:
        single = [each for each in comparisons(record) if len(each.outputs[0]) == 1 and set(each.predictions) == {0}
                  and len(set(each.labels)) > 1]
        if single:
            return _of_one_column(single[-1], record.one_column_argmax)
    judged = [each for each in comparisons(record) if each.guesses is not None]
    if not judged:
        return NotMeasured("no comparison of predictions with labels was seen whose outputs name a class")
    unexplained, searched = False, _searched(judged)
    for each in judged:
        right = agreement(each.guesses, each.predictions)
        moved = apart(list(zip(each.predictions, each.labels)), list(zip(each.guesses, each.own_labels)))
        if min(1 - right, moved / len(each.guesses)) < max(DIFFERENT, 3 / len(each.guesses)):
            continue        # row by row, or in another order that the labels went along with
        slip = None if _rows_and_line(each) in searched else _slip(each)
        if slip is None:
            unexplained = True
        elif agreement(each.predictions, each.labels) < agreement(each.guesses, each.labels) or slip[0] == ALWAYS:
            return _finding(each, right, *slip)
    return NotMeasured("what is scored is worked out from the outputs in a way of its own") if unexplained else None


def _searched(judged):
    """The rows and lines where the same outputs were read in several ways: the search for a threshold."""
    ways = {}
    for each in judged:
        ways.setdefault(_rows_and_line(each), set()).add(tuple(each.predictions))
    return {rows for rows, read in ways.items() if len(read) > 1}


def _rows_and_line(each):
    scored = each.scored
    return scored.evaluation, scored.first_row, tuple(each.labels), scored.site and (scored.site.file, scored.site.line)


def _of_one_column(each, site):
    return Finding(
        "error", "the class that is scored is always 0: argmax is taken over a single output",
        {"rows": len(each.labels), "outputs": 1, "accuracy_as_scored": rounded(agreement(each.predictions, each.labels))},
        "The largest of one number is that number, so its place is 0 for every row, whatever the model says.",
        ONE_OUTPUT, site)


ALWAYS = "is always the same class"
ONE_OUTPUT = ("Give the head one output a class; or hold the one output against the middle of its scale (0 for a logit, "
              "0.5 for a probability).")


def _slip(each):
    """(what was done, the mend) where one of the usual slips gives these predictions; None where none does, or where
    both the outputs and the predictions name one class for all rows, which any threshold may give."""
    one_class = len(set(each.guesses)) == len(set(each.predictions)) == 1
    for done, mend, slipped in _slips(each.outputs, each.guesses) if not one_class else ():
        if agreement(slipped, each.predictions) >= MATCH:
            return done, mend
    return None


def _slips(outputs, guesses):
    """(what was done, the mend, the predictions that come of it) for every slip that outputs of this form allow."""
    columns, argmax = len(outputs[0]), "Take argmax over the last axis of all logits: logits.argmax(dim=-1)."
    if max(guesses.count(guess) for guess in set(guesses)) < CONSTANT * len(guesses):
        mend = argmax if columns > 1 else ONE_OUTPUT
        for label in range(max(columns, 2)):
            yield ALWAYS, mend, [label] * len(outputs)
    if columns == 1:
        yield ("is taken by a threshold of 0.5 on logits", "Hold the logit against 0, or its sigmoid against 0.5.",
               [int(row[0] > 0.5) for row in outputs])
        yield "is that of the other side", "Turn the comparison round.", [1 - guess for guess in guesses]
        return
    yield "is the smallest output's", argmax, [min(range(columns), key=row.__getitem__) for row in outputs]
    yield "is the largest value, not its place", "Take argmax, or the second thing that torch.max gives.", [
        max(row) for row in outputs]
    yield "is the rounded largest probability, not its class", argmax, [round(max(_softmax(row))) for row in outputs]
    yield "leaves out the first output", argmax, [max(range(columns - 1), key=row[1:].__getitem__) for row in outputs]
    if columns > 2:
        yield "leaves out the last output", argmax, [max(range(columns - 1), key=row.__getitem__) for row in outputs]
    for column in range(columns):
        done, mend = f"is taken by a threshold on output {column} alone", argmax
        yield done, mend, [int(row[column] > 0.5) for row in outputs]
        yield done, mend, [int(row[column] > 0) for row in outputs]
        yield done, mend, [int(_softmax(row)[column] > 0.5) for row in outputs]


def _softmax(row):
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def _finding(each, right, done, mend):
    script, named = agreement(each.predictions, each.labels), agreement(each.guesses, each.labels)
    return Finding(
        "error", f"the class that is scored {done}: in {percent(1 - right)} of the rows it is not what the outputs name",
        {"rows": len(each.labels), "outputs": len(each.outputs[0]), "predictions_that_differ_share": rounded(1 - right),
         "accuracy_as_scored": rounded(script), "accuracy_of_the_class_named": rounded(named)},
        "The score is that of something else than the model's answers; the model may be learning well.",
        mend, each.scored.site)
