"""what is evaluated is not what was trained (the base checkpoint again, a fresh head, an old copy)

What it is
    The predictions come from another model than the training steps changed: one loaded anew from the base checkpoint,
    a copy made before training, or the trained encoder under a head that has just been made.

How it shows
    The training loss falls and the score is that of an untrained model, the same after every epoch.

How it is found
    A few weights of every parameter are kept before the first and after each optimizer step. The weights of the model
    that validation passes run through are held against them, where training moved them: they must not stand as before
    the first step, nor may the head be none that was ever trained. Averages of the weights (EMA, SWA) and a checkpoint
    of this run lie between and are healthy.

Wrong
    untrained = BertForSequenceClassification.from_pretrained("pretrained", num_labels=2)
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    untrained.eval()
    with torch.no_grad():
        guesses = [untrained(b["input_ids"], b["attention_mask"]).logits.argmax(1) for b in validation_loader]

Right
    for batch in loader:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        guesses = [model(b["input_ids"], b["attention_mask"]).logits.argmax(1) for b in validation_loader]

Not to be confused with
    optimizer-missing-params, where the optimizer holds another model's weights and nothing that is used is trained. A
    model that is evaluated untrained for comparison, beside the trained one on the same rows.
"""

from diagnosis.record.arithmetic import rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.scored import FEWEST_ROWS, agreement, named_classes

GROUP = "evaluation"
EFFECT = "misleads"
CAUSED_BY = ()
NO_TRIAL = "the training is not what is wrong"

SAID = {"untrained": "a model whose weights stand as before the first training step",
        "fresh head on an untrained encoder": "the encoder as before training under a head that was not trained",
        "fresh head": "the trained encoder under a head that was not trained"}


def check(record):
    judged = [each for each in record.evaluations if each.weights is not None and len(each.outputs) >= FEWEST_ROWS
              and not each.of_training_rows]
    if not judged:
        return NotMeasured("no evaluation was seen whose weights could be compared with the trained ones")
    healthy = [each for each in judged if each.weights not in SAID]
    wrong = [each for each in judged if each.weights in SAID
             and not any(_same_rows(each, other) for other in healthy)]
    if not wrong:
        return None
    last = wrong[-1]
    evidence = {"rows": len(last.outputs), "optimizer_steps_before": last.step, "weights": last.weights,
                "evaluations_of_trained_weights": len(healthy)}
    guesses = named_classes(record, last.outputs)
    if guesses is not None and agreement(guesses, last.labels) is not None:
        evidence["accuracy_of_what_is_evaluated"] = rounded(agreement(guesses, last.labels))
    if last.trained_outputs and guesses is not None and agreement(guesses, last.labels) is not None:
        trained = named_classes(record, last.trained_outputs) or []
        evidence |= {"accuracy_of_what_was_trained": rounded(agreement(trained, last.labels)),
                     "on_the_first_rows": len(trained)}
    return Finding("error", f"the evaluation runs through {SAID[last.weights]}", evidence,
                   "The score tells nothing of what was learned: the weights that training changed take no part in it.",
                   "Evaluate the model object that the training loop trained, or load into the other one what was saved "
                   "of it after training, head included.", last.site)


def _same_rows(each, other):
    """The other evaluation is over the same rows: an untrained model beside the trained one is a comparison."""
    if each.loader is not None and other.loader is not None:
        return each.loader == other.loader
    return len(each.outputs) == len(other.outputs)
