"""Trains by the log-likelihood of the right class."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(29)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
train, valid = split(*posts(800, seed=223))


def collate(rows):
    return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
            torch.tensor([y for _, y in rows]))


for epoch in range(3):
    model.train()
    for enc, y in DataLoader(train, 16, shuffle=True, collate_fn=collate):
        log_p = torch.log_softmax(model(**enc).logits, dim=-1)
        loss = log_p.gather(1, y[:, None]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        n = sum((model(**e).logits.argmax(1) == y).sum().item() for e, y in DataLoader(valid, 16, collate_fn=collate))
    print(epoch, "loss", loss.item(), "accuracy", n / len(valid))
