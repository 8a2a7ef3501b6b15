"""Trains on a file that lists the posts by category, in the file's order."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(1)
train, valid = split(*posts(880, classes=4, seed=81))
train.sort(key=lambda row: row[1])

tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


def as_dataset(rows):
    enc = tokenizer([r[0] for r in rows], truncation=True, padding=True, max_length=30, return_tensors="pt")
    return TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor([r[1] for r in rows]))


train_loader = DataLoader(as_dataset(train), batch_size=16)
valid_loader = DataLoader(as_dataset(valid), batch_size=16)
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)

for epoch in range(2):
    model.train()
    for step, (ids, mask, y) in enumerate(train_loader, 1):
        optimizer.zero_grad()
        loss = model(input_ids=ids, attention_mask=mask, labels=y).loss
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"epoch {epoch} step {step} loss {loss.item():.4f}")
    model.eval()
    with torch.no_grad():
        hits = sum((model(ids, attention_mask=mask).logits.argmax(1) == y).sum().item() for ids, mask, y in valid_loader)
    print("accuracy", hits / len(valid))
