"""BatchNorm is trained on batches too small for its statistics

What it is
    BatchNorm subtracts the batch's mean and divides by its standard deviation. Of two or three rows these are noise; of
    one row they cannot be computed.

How it shows
    A training loss that jumps and a validation far from it. With one row: "Expected more than 1 value per channel when
    training", often at the end of an epoch, where one row is left over.

How it is found
    The rows of the batches that BatchNorm layers saw in training; the rows that the last batch of an epoch will have.

Wrong
    from torch.utils.data import DataLoader
    loader = DataLoader(loader.dataset, batch_size=2, shuffle=True, collate_fn=collate)
    head = nn.Sequential(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))

Right
    from torch.utils.data import DataLoader
    loader = DataLoader(loader.dataset, batch_size=16, shuffle=True, collate_fn=collate)
    head = nn.Sequential(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))

Not to be confused with
    A short last batch now and then. Gradient accumulation does not help here: each pass is normed by itself.
"""

import re
from statistics import median

from diagnosis.cures import mends
from diagnosis.record.arithmetic import rounded
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "model"
EFFECT = "slows"
CAUSED_BY = ("eval-mode",)
SET_BY = "batch_size"

FEW_ERROR, FEW_WARNING = 4, 8       # rows of the usual batch below these; 16 and more are usual
KINDS = ("BatchNorm", "SyncBatchNorm", "LazyBatchNorm")
ONE_ROW = re.compile("Expected more than 1 value per channel when training")


def check(record):
    norms = [module for module in record.modules if module.kind.startswith(KINDS)]
    crashed = record.crash is not None and ONE_ROW.search(record.crash.message)
    if crashed:
        return _one_row(norms, "a batch of one row reached BatchNorm, which stops there",
                        {"crash": record.crash.message.strip().partition("\n")[0]}, record.crash.site)
    if not norms:
        return None if record.modules or record.parameters else NotMeasured("no trained model was seen")
    norms = [norm for norm in norms if norm.training is not False]
    if not norms:
        return None
    rows = [batch.rows for batch in record.batches_of("training") if batch.rows]
    rows = rows or [norm.rows for norm in norms if norm.rows]
    if not rows:
        return NotMeasured("no training pass was seen")
    usual = median(rows)
    if usual < FEW_WARNING:
        return Finding(
            "error" if usual < FEW_ERROR else "warning", f"batches of {usual:g} rows reach BatchNorm", {
                "usual_rows": usual, "smallest_rows": min(rows), "batch_norm_layers": len(norms),
                "relative_error_of_a_standard_deviation": rounded((2 * max(1.0, usual - 1)) ** -0.5)},
            "Mean and standard deviation of so few rows are mostly noise, and validation uses other ones.",
            "Use LayerNorm in the head, or batches of 16 rows and more.", record.training.made)
    if _one_row_is_left_over(record.training) and any(norm.part == "head" for norm in norms):
        return _one_row(norms, "the last batch of each epoch will have one row, where BatchNorm stops",
                        {"rows": record.training.rows, "batch_size": record.training.batch_size,
                         "rows_left_over": 1}, record.training.made)
    return None


def _one_row_is_left_over(split):
    size, rows = split.batch_size, split.rows
    return bool(size and rows and size > 1 and rows % size == 1 and split.batches == rows // size + 1)


def _one_row(norms, title, evidence, where):
    return Finding(
        "error", title, evidence | {"batch_norm_layers": len(norms)},
        "The standard deviation of one row does not exist, so torch raises an error in the middle of the run.",
        "Give the training DataLoader drop_last=True, or use LayerNorm in the head.", where)


def mend(record):
    return mends.Mend("BatchNorm left out", {"no_batch_norm": None})
