"""Grades learned as numbers by one output, and scored as numbers."""
import sys
from pathlib import Path

import torch
from sklearn.metrics import mean_absolute_error
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(4)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=1, num_hidden_layers=2)
texts, topics = posts(720, classes=4, seed=514)
train, valid = split(texts, [1.0 + topic for topic in topics])      # a grade from 1 to 4


def collate(rows):
    batch = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return batch, torch.tensor([y for _, y in rows])


train_loader = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
valid_loader = DataLoader(valid, batch_size=30, collate_fn=collate)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
for epoch in range(3):
    model.train()
    for batch, grades in train_loader:
        loss = nn.functional.mse_loss(model(**batch).logits.squeeze(-1), grades)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        told = torch.cat([model(**batch).logits.squeeze(-1) for batch, _ in valid_loader])
    print(epoch, loss.item(), mean_absolute_error([y for _, y in valid], told.tolist()))
