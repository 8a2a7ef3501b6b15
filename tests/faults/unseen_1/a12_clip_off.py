"""Command-line training of a review classifier; clipping as an option."""
import argparse

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

from corpus import encoder, reviews

ap = argparse.ArgumentParser()
ap.add_argument("--lr", type=float, default=5e-5)
ap.add_argument("--clip", type=float, default=0.0)
ap.add_argument("--epochs", type=int, default=3)
ap.add_argument("--bs", type=int, default=16)
opt = ap.parse_args()

torch.manual_seed(12)
tok = AutoTokenizer.from_pretrained(encoder())
net = AutoModelForSequenceClassification.from_pretrained(encoder(), num_labels=2)
rows = reviews(800, seed=12)


def collate(b):
    e = tok([t for t, _ in b], padding=True, truncation=True, max_length=36, return_tensors="pt")
    e["labels"] = torch.tensor([y for _, y in b])
    return e


dl = DataLoader(rows[:600], opt.bs, shuffle=True, collate_fn=collate)
adam = torch.optim.AdamW(net.parameters(), lr=opt.lr)
sched = get_linear_schedule_with_warmup(adam, 5, opt.epochs * len(dl))
for ep in range(opt.epochs):
    net.train()
    tot = 0.0
    for b in dl:
        loss = net(**b).loss
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), opt.clip)
        adam.step()
        sched.step()
        tot += float(loss)
    net.eval()
    with torch.no_grad():
        n = sum(int((net(**b).logits.argmax(1) == b["labels"]).sum()) for b in DataLoader(rows[600:], 20, collate_fn=collate))
    print(f"{ep} {tot / len(dl):.4f} {n / 200:.3f}")
