"""the model meets validation rows that it was trained on in an earlier fold or run

What it is
    In cross-validation, or where the data are split anew for each epoch or run, the model is made once, before the
    loop, and goes from fold to fold: what is validation now was training then.

How it shows
    The first fold scores as it should, every later one far better, up to 100 %; the mean over the folds is worthless.

How it is found
    The rows of each evaluation are held against those of every loader that the same model was trained on before the
    present one; a model whose weights were put back to where they began is new.

Wrong
    pairs = list(zip(texts, labels))
    folds = [pairs[:128], pairs[128:]]
    for fold in (0, 1):
        model.train()
        for batch in DataLoader(folds[1 - fold], batch_size=8, shuffle=True, collate_fn=collate):
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        for batch in DataLoader(folds[fold], batch_size=8, collate_fn=collate):
            with torch.no_grad():
                loss_of(model, batch)

Right
    pairs = list(zip(texts, labels))
    folds = [pairs[:128], pairs[128:]]
    for fold in (0, 1):
        model = BertForSequenceClassification.from_pretrained("pretrained", num_labels=2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        model.train()
        for batch in DataLoader(folds[1 - fold], batch_size=8, shuffle=True, collate_fn=collate):
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        for batch in DataLoader(folds[fold], batch_size=8, collate_fn=collate):
            with torch.no_grad():
                loss_of(model, batch)

Not to be confused with
    leakage, where validation rows stand in the present training set. Stages of training on growing data, whose
    validation rows stay apart throughout.
"""

from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "evaluation"
EFFECT = "misleads"
CAUSED_BY = ("leakage",)
NO_TRIAL = "the training is not what is wrong"

BEFORE = 0.3        # of the evaluated rows that the model was trained on earlier
NOW = 0.1           # of them in the present training set: more is leakage


def check(record):
    if not record.evaluations:
        return NotMeasured("no evaluation was seen after a training step")
    carried = [each for each in record.evaluations if each.rows_trained_before is not None
               and each.rows_trained_before >= BEFORE and (each.rows_trained_now or 0) <= NOW]
    if not carried:
        return None
    first = carried[0]
    return Finding(
        "error", f"{percent(first.rows_trained_before)} of the rows evaluated were training rows of this model in an "
                 "earlier fold",
        {"rows_trained_on_before_share": rounded(first.rows_trained_before),
         "rows_in_the_present_training_set_share": rounded(first.rows_trained_now),
         "evaluations_like_this": len(carried)},
        "The model has seen these rows with their labels, so its score on them says how well it remembers.",
        "Make the model, its optimizer and its schedule anew at the beginning of every fold.", first.site)
