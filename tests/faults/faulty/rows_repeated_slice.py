"""Batches are cut from one tensor by hand; the slice does not move."""
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(1)
SIZE = 16
train, valid = split(*posts(640, classes=4, seed=503))
tok = AutoTokenizer.from_pretrained(encoder_folder())
enc = tok([t for t, _ in train], padding=True, truncation=True, max_length=32, return_tensors="pt")
val = tok([t for t, _ in valid], padding=True, truncation=True, max_length=32, return_tensors="pt")
labels, val_labels = torch.tensor([y for _, y in train]), torch.tensor([y for _, y in valid])

model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
opt = torch.optim.AdamW(model.parameters(), lr=5e-5)
for epoch in range(3):
    model.train()
    order, start = torch.randperm(len(train)), 0
    total = 0.0
    for _ in range(len(train) // SIZE):
        idx = order.sort().values[start:start + SIZE]
        out = model(input_ids=enc["input_ids"][idx], attention_mask=enc["attention_mask"][idx], labels=labels[idx])
        opt.zero_grad()
        out.loss.backward()
        opt.step()
        total += out.loss.item()
    model.eval()
    with torch.no_grad():
        pred = model(**val).logits.argmax(1)
    print(epoch, total, (pred == val_labels).float().mean().item())
