"""Every fault's page has its headings, and its wrong and right examples run on a tiny but real model."""

import copy
import re
import textwrap

import pytest

from diagnosis.faults import GROUPS, catalogue

HEADINGS = ["What it is", "How it shows", "How it is found", "Wrong", "Right", "Not to be confused with"]
FAULTS = catalogue()
ROWS = [("good phone , good screen", "good"), ("the phone is bad", "bad"), ("good battery", "good"),
        ("bad screen and bad battery", "bad"), ("the screen is good", "good"), ("the battery is bad", "bad"),
        ("good and bad phone", "bad"), ("the phone is good and the screen is good", "good")]


def sections(fault):
    """{heading: text} of a fault's page; the part before the first heading is under ''."""
    parts = re.split(r"^(\S.*)\n(?=    )", fault.__doc__, flags=re.MULTILINE)
    return {"": parts[0].strip()} | {heading: textwrap.dedent(text).strip()
                                     for heading, text in zip(parts[1::2], parts[2::2])}


@pytest.fixture
def names():
    """What the examples may use: a tiny model of transformers, its parts, data, optimizer and schedule."""
    import torch
    from torch import nn
    from torch.nn import functional as F
    from transformers import (BertConfig, BertForSequenceClassification, BertTokenizer,
                              get_linear_schedule_with_warmup)
    torch.manual_seed(0)
    words = sorted({word for text, _ in ROWS for word in text.split()})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    config = BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=64)

    texts, labels = [text for text, _ in ROWS], [int(label == "good") for _, label in ROWS]

    def batch_of(rows):
        encoded = tokenizer([text for text, _ in rows], padding=True, return_tensors="pt")
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"],
                "labels": torch.tensor([label for _, label in rows])}

    def loader_of(rows, shuffle):
        return torch.utils.data.DataLoader(rows, batch_size=4, shuffle=shuffle, collate_fn=batch_of)

    model, examples = BertForSequenceClassification(config), list(zip(texts, labels))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return {
        "torch": torch, "nn": nn, "F": F, "model": model, "encoder": model.bert, "head": model.classifier,
        "tokenizer": tokenizer, "loader": loader_of(examples, True),
        "validation_loader": loader_of(examples[:4], False), "optimizer": optimizer,
        "scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0), "epochs": 2,
        "loss_of": lambda model, batch: F.cross_entropy(model(**batch).logits, batch["labels"]),
        "get_linear_schedule_with_warmup": get_linear_schedule_with_warmup,
        "texts": texts, "labels": labels, "rows": list(ROWS)}


def test_the_catalogue_is_the_contracts():
    assert len(FAULTS) == 44 and {fault.GROUP for fault in FAULTS.values()} == set(GROUPS)


@pytest.mark.parametrize("name", FAULTS)
def test_a_page_has_its_meaning_in_one_line_and_every_heading_in_order(name):
    first, *_ = FAULTS[name].__doc__.splitlines()
    assert first and len(first) <= 100 and not first.endswith(".")
    parts = sections(FAULTS[name])
    assert parts.pop("") == first
    assert list(parts) == HEADINGS and all(parts.values())


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_what_it_does_and_what_it_comes_from(name):
    fault = FAULTS[name]
    assert fault.EFFECT in ("stops", "slows", "misleads")
    assert all(cause in FAULTS and cause != name for cause in fault.CAUSED_BY)


@pytest.mark.parametrize("name", FAULTS)
def test_the_right_example_runs(name, names):
    exec(compile(sections(FAULTS[name])["Right"], f"{name}, Right", "exec"), names)


@pytest.mark.parametrize("name", FAULTS)
def test_the_wrong_example_is_code_and_differs_from_the_right_one(name, names):
    wrong = sections(FAULTS[name])["Wrong"]
    assert wrong != sections(FAULTS[name])["Right"]
    code = compile(wrong, f"{name}, Wrong", "exec")
    try:
        exec(code, copy.copy(names))
    except NameError:
        raise       # a fault may break the run, but not by a name that nobody has
    except Exception as error:
        assert name in BREAKS, f"{error!r}: the page should show a fault that runs"


# Faults whose example ends in an error of torch, as the fault itself does.
BREAKS = {"label-out-of-range", "head-mismatch", "batchnorm-small-batch", "tokenizer-mismatch", "loss-detached",
          "half-weights", "fp16-overflow", "clip-before-unscale", "non-finite"}
