"""A record of a healthy run written by hand, ways to change it, and what a check then says: for data, input and model."""

import copy
import random

from diagnosis.faults import catalogue
from diagnosis.record.record import (Batch, Control, Crash, Encoder, Module, Parameter, Record, Site, Split, Step,
                                     Tokenizer)
from diagnosis.verdict.finding import Finding, NotMeasured

OURS = [name for name, fault in catalogue().items() if fault.GROUP in ("data", "input", "model")]
CLS, SEP = 101, 102
LINE = Site("train.py", 42, "a line of the script")


# a healthy run, and ways to change it


def rows_of(count, classes=4, seed=0, words=12, signal=2):
    """Token ids and labels of different texts: words of everyday use, and some that tell the class."""
    chance = random.Random(seed)
    labels = [chance.randrange(classes) for _ in range(count)]
    rows = [[CLS, *chance.choices(range(1000, 3000), k=words - signal),
             *chance.choices(range(5000 + 20 * label, 5020 + 20 * label), k=signal), SEP] for label in labels]
    return rows, labels


def split_of(rows, labels, **facts):
    facts = {"complete": True, "shuffled": True, "sampler": "RandomSampler", "made": LINE, "batch_size": 16,
             "rows": len(rows), "batches": -(-len(rows) // 16)} | facts
    return Split(examples=rows, labels=labels, order_labels=labels[:320], **facts)


def training_batch(step, labels, outputs=4, **facts):
    chance = random.Random(step)
    logits = [[chance.gauss(0, 0.3) for _ in range(outputs)] for _ in labels]
    facts = {"width": 20, "real_tokens": 12 * len(labels), "padding": 8 * len(labels), "mask_given": True,
             "padding_shown": 0, "real_hidden": 0, "unknown": len(labels) // 8, "highest_id": 5079,
             "distinct_rows": len(labels), "outputs": outputs, "loss": 1.39 - 0.01 * step + 0.02 * (step % 2),
             "loss_function": "cross_entropy", "last_operation": "linear", "loss_sign": 1, "loss_has_graph": True,
             "encoder_training": True, "head_training": True, "gradient_enabled": True, "site": LINE,
             "drawn": list(range(16 * step, 16 * step + len(labels))), "padded_rows": 10, "read_at_padding": 0} | facts
    return Batch("training", step, len(labels), labels=labels, logits=logits, **facts)


def parameters_of(layers=12):
    weights = [Parameter(f"bert.layer.{number}.{kind}.weight", f"layer {number}", [128, 128], "float32", True, 0,
                         std=0.03 + 0.0017 * number + 0.004 * place, gradient_norms=[0.1, 0.2, 0.1])
               for number in range(layers) for place, kind in enumerate(("query", "output"))]
    return [Parameter("bert.embeddings.word.weight", "embeddings", [30522, 128], "float32", True, 0, std=0.04,
                      gradient_norms=[0.1, 0.1, 0.1]), *weights,
            Parameter("bert.pooler.dense.weight", "pooler", [128, 128], "float32", True, 0, gradient_norms=[None] * 3),
            Parameter("classifier.weight", "head", [4, 128], "float32", True, 0, gradient_norms=[0.5, 0.6, 0.4])]


def healthy():
    rows, labels = rows_of(700)
    record = Record(target="train.py", ended="enough seen", classes=4, optimizer_steps=20, parameters=parameters_of())
    record.training = split_of(rows, labels)
    record.validation = split_of(*rows_of(200, seed=1), shuffled=False, sampler="SequentialSampler")
    record.batches = [training_batch(step, labels[16 * step:16 * step + 16]) for step in range(20)]
    record.steps = [Step(index, rates=[2e-5], loss=record.batches[index].loss, epoch=0) for index in range(20)]
    record.tokenizer = Tokenizer("bert-base-uncased", "BertTokenizer", 30522, 100, 0, CLS, SEP, 64, True,
                                 full_lengths=[14] * 40, kept_lengths=[14] * 40, own_agreement=1.0, site=LINE)
    record.encoder = Encoder("BertModel", "bert-base-uncased", 12, 768, 30522, 0, 512, 0.02, "bert-base-uncased", 0,
                             199, 0.0, 0.0, made=LINE)
    record.modules = [Module("bert.layer.0.dropout", "Dropout", "layer 0", 0.1, True),
                      Module("dropout", "Dropout", "head", 0.5, True), Module("classifier", "Linear", "head")]
    record.controls = [signal("labels-from-tokens"), signal("labels-from-features"),
                       Control("rows-apart", "does a row stay the same?", True),
                       Control("own-optimizer", "can this optimizer learn?", True)]
    return record


def signal(name, outcome=True, **figures):
    figures = {"accuracy": 0.61, "permuted_accuracy": 0.26, "permuted_spread": 0.015, "p_value": 0.01, "rows": 700,
               "majority": 0.3} | figures
    return Control(name, "can the labels be predicted?", outcome, figures)


def no_signal(name, **figures):
    return signal(name, False, **{"accuracy": 0.262, "p_value": 0.42} | figures)


def check(name, record):
    return catalogue()[name].check(copy.deepcopy(record))


def found(name, record, level):
    """The finding, after a look at what every finding must have."""
    finding = check(name, record)
    assert isinstance(finding, Finding), f"{name} says {finding}"
    assert finding.level == level
    assert finding.title and finding.title[0] not in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" and not finding.title.endswith(".")
    assert finding.evidence and finding.why and finding.fix
    return finding


def passes(name, record):
    outcome = check(name, record)
    assert outcome is None, f"{name} says {outcome}"


def not_measured(name, record):
    outcome = check(name, record)
    assert isinstance(outcome, NotMeasured) and outcome.reason, f"{name} says {outcome}"


def every_batch(record, **facts):
    for batch in record.batches:
        for name, value in facts.items():
            setattr(batch, name, value)
    return record


def relabelled(record, table):
    """The same run with its training labels renamed by a table."""
    for labels in (record.training.labels, record.training.order_labels, *(batch.labels for batch in record.batches)):
        labels[:] = [table.get(label, label) for label in labels]
    return record


def with_labels(labels, **facts):
    """The healthy run with other training labels (700 of them)."""
    record = healthy()
    record.training = split_of(record.training.examples, labels, **facts)
    for batch in record.batches:
        batch.labels = labels[16 * batch.step:16 * batch.step + 16]
    return record


def crashed(record, kind, message):
    record.crash = Crash(kind, message, "Traceback ...", LINE)
    record.batches = record.batches[:1]
    record.batches[0].role, record.batches[0].loss = "validation", None     # no backward followed
    return record


def from_configuration(record, hidden_size=768):
    encoder = record.encoder
    encoder.loaded_from, encoder.zero_bias_share, encoder.unit_norm_share = None, 1.0, 1.0
    encoder.hidden_size = hidden_size
    return record
