"""every prediction is one class (a symptom: rank it behind its cause)

What it is
    The largest logit stands in the same column for every text. The model has learned how frequent the classes are, or
    nothing at all.

How it shows
    An accuracy that equals the share of one class to the last digit; a macro-F1 far below it; a confusion matrix with
    a single column.

How it is found
    The largest logit of each row in the validation passes, or in the last quarter of the training passes, against the
    labels of the same rows; and a sign that learning has stopped, for a healthy fresh run may predict one class for a
    hundred steps: this model or this optimizer does not learn even one batch, the weights do not move, the logits do
    not depend on the text, the loss's class weights make one class the cheapest answer to every text, or the loss is
    above that of guessing and does not fall.

Wrong
    loss_function = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 50.0]))    # for two classes of about one size

Right
    loss_function = nn.CrossEntropyLoss()

Not to be confused with
    The first steps of a healthy run; labels that are nearly all one class (labels-single-class), where guessing it is
    right.
"""

from collections import Counter

from diagnosis.record.arithmetic import rounded
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "evaluation"
EFFECT = "misleads"
CAUSED_BY = ("label-out-of-range", "label-mismatch", "labels-random", "labels-single-class", "class-imbalance",
             "text-constant", "text-unknown", "text-truncated", "not-shuffled", "mask-missing", "mask-wrong",
             "tokenizer-mismatch", "encoder-random", "encoder-frozen", "freeze-ineffective", "gradient-blocked",
             "eval-mode", "double-softmax", "head-mismatch", "dead-head", "dropout-extreme", "batchnorm-small-batch",
             "lr-zero", "lr-too-low", "schedule-per-epoch", "warmup-too-long", "schedule-exhausted", "lr-too-high",
             "optimizer-missing-params", "no-optimizer-step", "gradients-cleared", "gradients-accumulate",
             "clip-too-tight", "weight-decay-extreme", "loss-detached", "loss-sign", "fp16-overflow",
             "clip-before-unscale", "half-weights", "non-finite", "rows-repeated", "head-frozen", "loss-mismatched",
             "optimizer-remade", "model-remade", "too-few-steps", "pooled-padding", "rows-mixed")
NO_TRIAL = "it is a symptom, and what causes it is not known"

FIXES = {           # by what the sign of standing still says
    "class weights": "weigh the classes by the inverse of their frequency (sklearn's compute_class_weight) or not at "
                     "all",
    "by heart": "look at the model: what of it is trained, its head, and what the loss is computed from",
    "this optimizer": "look at the optimization: the rate, its schedule, and which weights the optimizer holds",
    "no weight": "look for why no step changes a weight: the rate, the gradients, the weights that the optimizer holds",
    "the same for every text": "look between the texts and the logits: is the input the same, is the head saturated?",
    "above that of guessing": "lower the learning rate, and see whether the loss then falls within an epoch"}

ROWS = 32           # rows to judge by
ONE_CLASS = 0.98    # of the predictions
LABELS = 0.9        # of the labels: a larger class is a matter of the data
SAME = 1e-4         # spread of a logit over the rows below which it does not depend on them


def check(record):
    passes = [batch for batch in judged(record) if batch.logits and batch.labels
              and len(batch.logits) == len(batch.labels) and (batch.outputs or 0) > 1]
    guesses = [row.index(max(row)) for batch in passes for row in batch.logits]
    labels = [label for batch in passes for label in batch.labels]
    if len(guesses) < ROWS:
        return NotMeasured("too few predictions with labels were seen")
    favourite = max(set(guesses), key=guesses.count)
    share, largest = guesses.count(favourite) / len(guesses), max(map(labels.count, set(labels))) / len(labels)
    if share < ONE_CLASS or largest > LABELS:
        return None
    stopped = sign_of_standstill(record, passes)
    if not stopped:
        return None
    return Finding("warning", f"every prediction is {record.class_named(favourite)}",
                   {"share_of_predictions": rounded(share), "rows": len(guesses),
                    "share_of_labels": rounded(labels.count(favourite) / len(labels)), "sign": stopped},
                   "the model does not tell the texts apart; its accuracy is the share of that class",
                   next(fix for words, fix in FIXES.items() if words in stopped), passes[-1].site)


def judged(record):
    """Validation passes after some training, else the last quarter of the training passes."""
    validation = [batch for batch in record.batches_of("validation") if batch.step > 0]
    training = record.batches_of("training")
    enough = sum(len(batch.logits or ()) for batch in validation) >= ROWS
    return validation if enough else training[-max(4, len(training) // 4):]


def sign_of_standstill(record, passes):
    """Why this is no healthy beginning, in words; None where it may be one."""
    steps, trend, guess = course.taken(record), course.trend(record), course.guessing_loss(record)
    if course.fails(record, "model-overfits"):
        return "this model does not learn one batch by heart"
    if course.fails(record, "own-optimizer"):
        return "this optimizer does not learn one batch"
    if not steps and record.backwards or steps and not max(course.highest_rates(record), default=0) > 0:
        return "no weight has moved"
    favoured = favoured_by_weights(record)
    if favoured is not None:
        return f"the loss's class weights outweigh the data: class {favoured[0]} has {favoured[1]:.0%} of the weight"
    columns = list(zip(*(row for batch in passes for row in batch.logits)))
    widths = {len(batch.logits[0]) for batch in passes}
    if len(widths) == 1 and all(max(column) - min(column) < SAME for column in columns):
        return "the logits are the same for every text"
    above = trend is not None and guess is not None and len(steps) >= 16 and trend.last > 1.1 * guess + 2 * trend.noise
    return "the loss is above that of guessing and does not fall" if above and not trend.falls else None


def favoured_by_weights(record):
    """(class, its share) where the labels seen, times the loss's class weights, are nearly all of one class."""
    batches = [batch for batch in record.batches_of("training") if batch.class_weights and batch.labels]
    labels = [(label, batch.class_weights) for batch in batches for label in batch.labels]
    weight = Counter()
    for label, weights in labels:
        if 0 <= label < len(weights):
            weight[label] += weights[label]
    if len(weight) < 2:
        return None
    (favourite, most), total = weight.most_common(1)[0], sum(weight.values())
    return (favourite, most / total) if most > LABELS * total else None
