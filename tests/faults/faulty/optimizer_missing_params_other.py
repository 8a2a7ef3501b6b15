"""Tries three dropout rates and trains the model of the last one."""
import copy
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(22)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
base = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(base.parameters(), lr=5e-5)
model = copy.deepcopy(base)
model.dropout.p = 0.2

train, valid = split(*posts(800, seed=213))


def tensors(rows):
    e = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows]))


train_loader = DataLoader(tensors(train), batch_size=16, shuffle=True)
valid_loader = DataLoader(tensors(valid), batch_size=16)
for epoch in range(3):
    model.train()
    total = 0
    for ids, mask, labels in train_loader:
        model.zero_grad()
        loss = model(ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        optimizer.step()
        total += loss.item()
    print("epoch", epoch, "train loss", total / len(train_loader))
    model.eval()
    right = 0
    with torch.no_grad():
        for ids, mask, labels in valid_loader:
            right += (model(ids, attention_mask=mask).logits.argmax(1) == labels).sum().item()
    print("accuracy", right / len(valid))
