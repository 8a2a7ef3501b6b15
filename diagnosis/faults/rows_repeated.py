"""few different rows are ever drawn: class weights as weights of rows, the same batch again

What it is
    The loader or the loop hands out a few rows again and again. WeightedRandomSampler wants one weight per row: given
    one weight per class, it draws from the first rows alone, as many as there are classes. next(iter(loader)) begins a
    new pass at every call: without shuffling it always gives the first batch.

How it shows
    The training loss is near zero after a few steps and the validation score stays at chance; classes that are not
    among the few rows are never predicted.

How it is found
    The different inputs among the rows drawn, held against how many as many draws would show: from all rows evenly, or
    from every class evenly (whichever is fewer), rows drawn twice for one step counted once. The finding needs less
    than a third of that.

Wrong
    counts = torch.bincount(torch.tensor(labels))
    sampler = torch.utils.data.WeightedRandomSampler(1.0 / counts, len(labels))
    loader = DataLoader(list(zip(texts, labels)), batch_size=8, sampler=sampler, collate_fn=collate)

Right
    counts = torch.bincount(torch.tensor(labels))
    sampler = torch.utils.data.WeightedRandomSampler((1.0 / counts)[labels], len(labels))
    loader = DataLoader(list(zip(texts, labels)), batch_size=8, sampler=sampler, collate_fn=collate)

Not to be confused with
    Oversampling of rare classes, which repeats their rows and shows all others; several views of one batch in a step;
    a data set that is small; text-constant, where different rows reach the model as the same input.
"""

import math
from collections import Counter

from diagnosis.cures import mends
from diagnosis.record.arithmetic import rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import drawn_at_random

GROUP = "data"
EFFECT = "stops"
CAUSED_BY = ()
NO_TRIAL = "how the rows are drawn is in no DataLoader that could be made otherwise"

FEW = 0.33          # of the different rows that as many draws would show
STEPS, DRAWS = 8, 32        # fewer tell nothing


def check(record):
    if record.several_texts:
        return NotMeasured("the encoder reads several texts of a row: rows are not told apart by one of them")
    steps = {}
    for batch in record.batches_of("training"):
        if batch.drawn:
            steps.setdefault(batch.step, set()).update(batch.drawn)
    draws, different = sum(map(len, steps.values())), set().union(*steps.values())
    if len(steps) < STEPS or sum(batch.rows for batch in record.batches_of("training")) < DRAWS:
        return NotMeasured("too few rows were seen on their way into the encoder")
    available = different_rows(record)
    if available is None:
        return NotMeasured("how many different rows there are is not known")
    expected = min(expected_rows(classes, draws) for classes in ([available], per_class(record, available)))
    if len(different) >= FEW * expected:
        return None
    same_batch = all(rows == different for rows in steps.values())
    drawn = sum(batch.rows for batch in record.batches_of("training"))
    return finding(record, same_batch, {
        "different_rows_drawn": len(different), "rows_drawn": drawn, "optimizer_steps": len(steps),
        "different_rows_there_are": available,
        "different_rows_expected": round(expected), "share_of_expected": rounded(len(different) / expected),
        "sampler": record.training.sampler})


def different_rows(record):
    """Different inputs that the training data hold; None where unknown."""
    split = record.training
    if split.rows and split.examples:
        return max(1, round(split.rows * len(set(map(tuple, split.examples))) / len(split.examples)))
    texts = record.tokenizer.different_texts if record.tokenizer is not None else None
    return texts // 2 if texts else None        # the other half may be validation texts


def per_class(record, available):
    """Different rows of each class, were all classes of their share in the labels known; else of one class."""
    split = record.training
    if len(split.labels) < DRAWS or not drawn_at_random(split):
        return [available]
    return [available * count / len(split.labels) for count in Counter(split.labels).values()]


def expected_rows(classes, draws):
    """Different rows that draws with replacement show: from each class equally often, evenly within it."""
    each = draws / len(classes)
    return sum(rows * (1 - math.exp(-each / rows)) for rows in classes)


def finding(record, same_batch, evidence):
    split, count = record.training, evidence["different_rows_drawn"]
    rows = f"{count} different row{'' if count == 1 else 's'}"
    if same_batch:
        title = f"every step trains on the same {count} rows of {evidence['different_rows_there_are']}"
    else:
        title = f"only {rows} of {evidence['different_rows_there_are']} are ever drawn"
    where = split.made
    if split.sampler == "WeightedRandomSampler":
        fix = ("give WeightedRandomSampler one weight per row, not per class: weights_of_classes[labels], where labels "
               "holds the class of every row")
    elif same_batch:
        where = split.iterated or next((batch.site for batch in record.batches_of("training") if batch.site), None)
        fix = "take a new batch at every step: for batch in loader, not next(iter(loader)) and no batch kept"
    else:
        fix = "print the row numbers that the sampler (or the slicing) gives, and let it give every row once per epoch"
    return Finding("error", title, evidence,
                   "The model learns these rows by heart and sees nothing of the others, so it says nothing about new "
                   "texts.", fix, where)


def mend(record):
    return mends.shuffled(record)
