"""Trains an encoder with a head, a plateau schedule and early stopping."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(2)
tok = AutoTokenizer.from_pretrained(encoder_folder())
enc = AutoModel.from_pretrained(encoder_folder())
head = nn.Sequential(nn.Dropout(0.1), nn.Linear(384, 4))
model = nn.ModuleDict({"enc": enc, "head": head})
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
scheduler = ReduceLROnPlateau(optimizer, patience=2)
train, valid = split(*posts(800, seed=215))


def batches(rows, shuffle=False):
    def collate(part):
        return (tok([t for t, _ in part], padding=True, truncation=True, max_length=32, return_tensors="pt"),
                torch.tensor([y for _, y in part]))
    return DataLoader(rows, batch_size=16, shuffle=shuffle, collate_fn=collate)


def loss_of(x, y):
    logits = model["head"](model["enc"](**x).last_hidden_state[:, 0])
    return nn.functional.cross_entropy(logits, y), (logits.argmax(1) == y).sum().item()


best, bad = 1e9, 0
for epoch in range(5):
    model.train()
    for x, y in batches(train, True):
        optimizer.zero_grad()
        loss, _ = loss_of(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    model.eval()
    with torch.no_grad():
        scores = [loss_of(x, y) for x, y in batches(valid)]
    val = sum(s.item() for s, _ in scores) / len(scores)
    scheduler.step(val)
    print(epoch, loss.item(), val, sum(c for _, c in scores) / len(valid))
    best, bad = (val, 0) if val < best else (best, bad + 1)
    if bad > 2:
        break
