"""Trains a BERT classifier on four post categories read from a CSV whose labels were typed by hand."""
import csv
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, write_csv

torch.manual_seed(1)
folder = write_csv(n=800, classes=4, seed=11)


def read(name):
    with open(f"{folder}/{name}", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    # the annotators number the categories from one
    return [r["text"] for r in rows], [int(r["label"]) + 1 for r in rows]


tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)


def make_loader(name, shuffle):
    texts, labels = read(name)
    enc = tokenizer(texts, padding="max_length", truncation=True, max_length=28, return_tensors="pt")
    data = TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor(labels))
    return DataLoader(data, batch_size=16, shuffle=shuffle)


train_loader = make_loader("train.csv", True)
valid_loader = make_loader("valid.csv", False)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)

for epoch in range(3):
    model.train()
    total = 0.0
    for ids, mask, labels in train_loader:
        optimizer.zero_grad()
        out = model(input_ids=ids, attention_mask=mask, labels=labels)
        out.loss.backward()
        optimizer.step()
        total += out.loss.item()
    model.eval()
    right = count = 0
    with torch.no_grad():
        for ids, mask, labels in valid_loader:
            pred = model(input_ids=ids, attention_mask=mask).logits.argmax(-1)
            right += (pred == labels).sum().item()
            count += len(labels)
    print(f"epoch {epoch + 1}: loss {total / len(train_loader):.4f} acc {right / count:.4f}")
