"""the labels cannot be predicted from the texts (shuffled, misaligned, wrong column)

What it is
    Each text bears a label that has nothing to do with it: labels and texts were sorted or shuffled apart, a filter
    dropped rows from one list only, a join matched wrongly, the wrong column was read.

How it shows
    The loss settles at that of guessing by class frequency, and no setting changes it. After many epochs the training
    loss falls all the same, because the model learns rows by heart, while validation stays at chance.

How it is found
    Two control experiments without the script's model: a linear model over token counts and one over the frozen
    encoder's features, cross-validated, against the same with permuted labels; at least 500 rows. A weak signal
    (p < 0.01) is a signal. So is a first pass over the data in which the script's own model does better than chance.

Wrong
    import random
    names = [label for _, label in rows]
    random.shuffle(names)
    rows = [(text, name) for (text, _), name in zip(rows, names)]

Right
    import random
    random.shuffle(rows)

Not to be confused with
    A rate of zero or a blocked gradient: then the controls do well and the script's model does not. Labels that
    depend on word order or on a pair of texts, which linear models see only weakly: have a look at a few rows.
    label-conflict, where the same texts are given contradicting labels on purpose or by many annotators.
"""

import operator
from collections import Counter

from scipy.stats import binomtest

from diagnosis.faults import label_conflict, text_constant, text_truncated, text_unknown
from diagnosis.record.arithmetic import rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import predictions, scored_batches


GROUP = "data"
EFFECT = "stops"
CAUSED_BY = ()
NO_TRIAL = "no change of the run gives the labels a meaning"

CONTROLS = ("labels-from-tokens", "labels-from-features")
ENOUGH = 500                # rows; with fewer a weak signal cannot be told from none
CLEAR = 0.01                # p of a permutation test from which on there is a signal
DEVIATIONS = 3              # spreads above the permuted runs: the same where too few were made to reach such a p
ENOUGH_SEEN = 200           # rows of the first pass, for the script's own model to count as a witness


def check(record):
    measured = {name: control for name in CONTROLS
                if (control := record.control(name)) is not None and control.outcome is not None}
    if not measured:
        reasons = [control.reason for name in CONTROLS if (control := record.control(name)) and control.reason]
        return NotMeasured(reasons[0] if reasons else "the controls of the labels were not made")
    if any(control.outcome or _is_signal(control.figures) for control in measured.values()):
        return None
    rows = max(int(control.figures.get("rows") or len(record.training.labels)) for control in measured.values())
    if rows < ENOUGH:
        return NotMeasured(f"{rows} rows show no signal, but fewer than {ENOUGH} cannot rule a weak one out")
    if _learned_in_first_pass(record):
        return None
    for fault in (text_truncated, text_unknown, text_constant):
        finding = fault.check(record)
        if isinstance(finding, Finding) and finding.level == "error":
            return NotMeasured(f"hardly any text reaches the model ({finding.title}), so nothing can be said of labels")
    if label_conflict.arranged(record):
        return NotMeasured("the same texts bear contradicting labels (label-conflict), which hides any other signal")

    evidence = {}
    for name, control in measured.items():
        for figure in ("accuracy", "permuted_accuracy", "permuted_spread", "p_value", "rows", "majority"):
            if control.figures.get(figure) is not None:
                evidence[f"{name.removeprefix('labels-').replace('-', '_')}_{figure}"] = control.figures[figure]
    spread = max((control.figures.get("permuted_spread") or 0) for control in measured.values())
    if spread:
        evidence["smallest_gain_that_would_show"] = rounded(3 * spread, 3)
    return Finding(
        "error", "the labels cannot be predicted from the texts: no better than with permuted labels", evidence,
        "Where texts and labels have nothing to do with each other, a model can only guess or learn rows by heart.",
        "Print ten texts with their labels at the place where the batches are made, and go back from there to the "
        "line where they still fit; keep text and label in one row through every filter, sort and shuffle.",
        record.training.made)


def _is_signal(figures):
    """Better than permuted labels beyond chance: weak signals count."""
    if figures.get("p_value") is not None and figures["p_value"] < CLEAR:
        return True
    if figures.get("spreads_above") is not None:
        return figures["spreads_above"] >= DEVIATIONS
    accuracy, permuted, spread = (figures.get(name) for name in ("accuracy", "permuted_accuracy", "permuted_spread"))
    return bool(spread) and None not in (accuracy, permuted) and (accuracy - permuted) / spread >= DEVIATIONS


def _learned_in_first_pass(record):
    """In the second half of the first pass, on rows never trained on before, the model beats the largest class."""
    second_epoch = next((step.index for step in record.steps if step.epoch > 0), None)
    batches = [batch for batch in scored_batches(record, "training")
               if second_epoch is None or batch.step < second_epoch]
    labels, said = predictions(batches[len(batches) // 2:])
    if len(labels) < ENOUGH_SEEN or record.training.shuffled is False:
        return False        # in a file sorted by class the label of the batch before is a good guess
    right = sum(map(operator.eq, said, labels))
    majority = Counter(labels).most_common(1)[0][1] / len(labels)
    return binomtest(right, len(labels), majority, alternative="greater").pvalue < 0.001
