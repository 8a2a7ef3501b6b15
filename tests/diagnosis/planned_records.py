"""A record of a short healthy run of 100 planned steps, written by hand: 5 epochs of 20, of which 20 and two of the second
epoch were seen; every test changes the one thing that it is about. For optimization, precision and evaluation.
"""

import importlib

from diagnosis.record.record import (Batch, Clip, Encoder, Group, Module, Parameter, Plan, Record, Schedule, Site,
                                     Split, Step)
from diagnosis.verdict.finding import Finding

NAMES = ("lr-zero lr-too-low schedule-per-epoch warmup-too-long schedule-exhausted lr-too-high "
         "optimizer-missing-params no-optimizer-step gradients-cleared gradients-accumulate clip-too-tight "
         "weight-decay-extreme loss-detached loss-sign fp16-overflow clip-before-unscale half-weights non-finite "
         "eval-train-mode majority-class loss-mismatched optimizer-remade too-few-steps").split()
MADE, CALLED, STEPPED = Site("train.py", 30), Site("train.py", 60, "scheduler.step()"), Site("train.py", 50)
PER_EPOCH, EPOCHS = 20, 5
UPDATES = PER_EPOCH * EPOCHS


def check(name, record):
    return importlib.import_module("diagnosis.faults." + name.replace("-", "_")).check(record)


def finding(name, record, level="error"):
    """The finding of that name, which must be there and complete."""
    found = check(name, record)
    assert isinstance(found, Finding), f"{name}: {found}"
    assert found.level == level
    assert found.title and found.title[0].islower() | found.title[0].isdigit() and not found.title.endswith(".")
    assert found.evidence and found.why and found.fix
    assert "nan" not in found.title
    return found


def passes(name, record):
    found = check(name, record)
    assert found is None, f"{name}: {found}"


def falling(step):
    return 1.38 - 0.02 * step + 0.01 * (-1) ** step


def run(seen=PER_EPOCH, more=2, rate=2e-5, losses=falling, **changes):
    """A healthy record: `seen` steps of the first epoch and `more` of the second, a whole model under AdamW."""
    steps = [Step(index, rates=[rate], loss=losses(index), gradient_norm=3.0, update_norm=0.05, weight_norm=100.0,
                  unchanged_share=0.0, epoch=int(index >= seen), site=STEPPED) for index in range(seen + more)]
    labels = [0, 1, 2, 3] * 4
    logits = [[0.3 * (row + shift) % 1 for shift in range(4)] for row in range(16)]
    batches = [Batch("training", index, 16, labels=labels, logits=logits, outputs=4, loss=losses(index),
                     loss_function="cross_entropy", loss_sign=1, loss_has_graph=True, encoder_training=True,
                     head_training=True, gradient_enabled=True, site=Site("train.py", 45))
               for index in range(seen + more)]
    record = Record(
        target="train.py", ended="enough seen", classes=4, backwards=seen + more, optimizer_steps=seen + more,
        zero_grads=seen + more, step_site=STEPPED, backward_site=Site("train.py", 47), zero_site=Site("train.py", 51),
        parameters=[parameter("bert.layer.weight", "layer 0", [1000, 1000], gradient=2.0),
                    parameter("bert.pooler.weight", "pooler", [100, 100], gradient=None),
                    parameter("classifier.weight", "head", [4, 1000], gradient=1.0)],
        groups=[Group("AdamW", rate, rate, weight_decay=0.01, parameters=3, elements=1_014_000, epsilon=1e-8,
                      made=MADE)],
        encoder=Encoder("BertModel", loaded_from="bert-base", hidden_size=768, layers=12, feature_similarity_first=0.8,
                        feature_similarity_last=0.75),
        modules=[Module("bert.dropout", "Dropout", "encoder", 0.1, True)],
        steps=steps, batches=batches, training=Split(rows=320, labels=labels * 20, loader="DataLoader"),
        plan=Plan(EPOCHS, PER_EPOCH, 1.0, UPDATES))
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def parameter(name, part, shape, gradient, group=0, dtype="float32", change=0.1, trainable=True):
    return Parameter(name, part, shape, dtype, trainable, group, mean=0.0, std=0.04, norm_first=40.0, norm_last=40.0,
                     change=change, gradient_norms=[gradient] * 22)


def linear(warm_up, total, places=UPDATES):
    """The factors of transformers' linear schedule."""
    return [place / max(1, warm_up) if place < warm_up else max(0.0, (total - place) / max(1, total - warm_up))
            for place in range(places + 1)]


def with_schedule(record, factors, per_epoch=False, calls_per_step=1, kind="LambdaLR", maker="", **arguments):
    """The record under a schedule with these factors, stepped by the script in one of the usual places."""
    base, steps = record.groups[0].initial_rate, record.steps
    calls_at = []
    for made, step in enumerate(steps, start=1):
        ends = made < len(steps) and steps[made].epoch != step.epoch
        calls_at += ([made] if ends else []) if per_epoch else [made] * calls_per_step
    for step in steps:
        place = sum(made <= step.index for made in calls_at)
        step.rates = [base * (factors[min(place, len(factors) - 1)] if factors else 1.0)]
    record.schedules = [Schedule(kind, maker or kind, arguments, MADE, len(calls_at), calls_at, CALLED, True,
                                 not per_epoch, factors, [base])]
    return record


def transformers_linear(warm_up, total, record=None, **how):
    return with_schedule(record or run(), linear(warm_up, total), maker="get_linear_schedule_with_warmup",
                         num_warmup_steps=warm_up, num_training_steps=total, **how)


def head_only(rate, losses):
    record = run(rate=rate, losses=losses)
    record.parameters[0].trainable = record.parameters[1].trainable = False
    record.parameters[0].group = record.parameters[1].group = None
    return record


def clipped(record, limit, before, scaled=False, scale=None):
    for step in record.steps:
        step.clip = Clip("norm", limit, before, scaled, Site("train.py", 48))
        step.gradient_norm, step.scale = min(limit, before), scale
    return record


def scaled(skipped, scale=65536.0):
    record = run(scaler_used=True, autocast="float16")
    for step in record.steps:
        step.skipped, step.scale = skipped(step.index), scale
        if step.skipped:
            step.rates = [2e-5]
    return record
