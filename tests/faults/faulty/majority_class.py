"""Weighted cross entropy for four categories of posts; the first category matters most."""
import sys
from collections import Counter
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(19)
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(840, classes=4, seed=309))
criterion = nn.CrossEntropyLoss(weight=torch.tensor([100.0, 0.1, 0.1, 0.1]))


def collate(rows):
    return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
            torch.tensor([y for _, y in rows]))


model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
for epoch in range(3):
    model.train()
    for enc, y in DataLoader(train, 16, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = criterion(model(**enc).logits, y)
        loss.backward()
        optimizer.step()
    model.eval()
    seen, right = Counter(), 0
    with torch.no_grad():
        for enc, y in DataLoader(valid, 16, collate_fn=collate):
            pred = model(**enc).logits.argmax(1)
            seen.update(pred.tolist())
            right += (pred == y).sum().item()
    print("epoch", epoch, "loss", loss.item(), "accuracy", right / len(valid), dict(seen))
