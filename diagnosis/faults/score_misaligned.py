"""predictions are compared with labels in another order

What it is
    The predictions come in the order in which a loader gave the rows, the labels in the order of a table: with
    shuffle=True these are two orders. Sorting by length for speed, or gathering from several processes, does the same.

How it shows
    The training loss falls to nothing while the accuracy stays at that of guessing and hardly moves from epoch to
    epoch; the confusion matrix looks like noise.

How it is found
    Each row that the script evaluated is known by its token ids, and so is its label. Where the script's predictions
    are those that the model gave, and its labels are those of the rows, but other predictions meet other labels than
    row by row, the order is at fault.

Wrong
    shuffled = DataLoader(list(zip([text for text, _ in validation_rows], validation_labels)), batch_size=8,
                          shuffle=True, collate_fn=collate)
    for epoch in range(epochs):
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        guesses = torch.cat([model(batch["input_ids"], batch["attention_mask"]).logits.argmax(1) for batch in shuffled])
    print((guesses == torch.tensor(validation_labels)).float().mean())

Right
    for epoch in range(epochs):
        for batch in loader:
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        guesses = torch.cat([model(batch["input_ids"], batch["attention_mask"]).logits.argmax(1)
                             for batch in validation_loader])
    print((guesses == torch.tensor(validation_labels)).float().mean())

Not to be confused with
    labels-random: there the labels fit no text, in training either. label-mismatch: there the rows fit, and a class
    bears another number.
"""

from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.scored import KNOWN, agreement, apart, comparisons, known_share, placeholders

GROUP = "evaluation"
EFFECT = "misleads"
CAUSED_BY = ()
NO_TRIAL = "the training is not what is wrong"

SAME = 0.02         # of the rows may differ between two columns that are the same but for their order
OTHER_PAIRS = 0.05  # of the rows whose prediction met another label, where the score suffers
FAR_APART = 0.2     # the same, whatever the score: that happens in no healthy evaluation
LOSS = 0.05         # of the score


def check(record):
    seen = [each for each in comparisons(record) if each.guesses is not None]
    drawn = next(filter(_drawn_anew, seen), None)
    if drawn is not None:
        return _of_a_drawing_loader(drawn)
    judged = [each for each in seen if known_share(each.own_labels) >= KNOWN
              and not placeholders(each.own_labels, each.labels)]
    if not judged:
        return NotMeasured("no comparison of predictions with labels was seen for rows whose labels are known")
    for each in judged:
        finding = _misaligned(each)
        if finding is not None:
            return finding
    return None


def _drawn_anew(each):
    """Predictions in the order of a loader that draws at random, against labels that cannot come from it."""
    return bool(each.evaluation.drawn) and placeholders(each.own_labels, each.labels) and \
        apart(list(enumerate(each.predictions)), list(enumerate(each.guesses))) <= SAME * len(each.labels)


def _of_a_drawing_loader(each):
    script = agreement(each.predictions, each.labels)
    return Finding(
        "error", f"predictions of a loader that draws its rows at random are compared with labels that do not come from "
                 f"it ({percent(script)} right)",
        {"rows": len(each.labels), "accuracy_as_compared": rounded(script),
         "largest_class_share": rounded(max(map(each.labels.count, set(each.labels))) / len(each.labels))},
        "The rows went through the model in an order that is drawn anew each time, and the labels stand in one of their "
        "own, so the score compares each prediction with the label of some other row.",
        "Make the loader of the evaluation with shuffle=False.", each.scored.site)


def _misaligned(each):
    rows = len(each.labels)
    if max(apart(each.labels, each.own_labels), apart(each.predictions, each.guesses)) > SAME * rows:
        return None
    pairs = apart(list(zip(each.predictions, each.labels)), list(zip(each.guesses, each.own_labels)))
    script, aligned = agreement(each.predictions, each.labels), agreement(each.guesses, each.own_labels)
    if pairs < max(4, OTHER_PAIRS * rows) or (aligned - script < LOSS and pairs < FAR_APART * rows):
        return None
    in_place = agreement(each.labels, each.own_labels)
    moved = "the labels" if in_place < 1 - SAME else "the predictions"
    return Finding(
        "error", f"predictions are compared with the labels of other rows ({percent(script)} right; row by row "
                 f"{percent(aligned)})",
        {"rows": rows, "accuracy_as_compared": rounded(script), "accuracy_row_by_row": rounded(aligned),
         "labels_in_the_order_of_the_rows_share": rounded(in_place), "pairs_that_differ": pairs},
        f"The rows went through the model in one order and {moved} stand in another, so the score compares each "
        "prediction with the label of some other row.",
        "Collect predictions and labels together, batch by batch, from the same loader; or make that loader with "
        "shuffle=False.", each.scored.site)
