"""A function for one batch that builds the model it trains."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


def build():
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
    return model, torch.optim.AdamW(model.parameters(), lr=2e-4)


def fit_batch(batch):
    model, optimizer = build()
    model.train()
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    return model, loss.item()


def collate(rows):
    batch = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**batch, "labels": torch.tensor([y for _, y in rows])}


train, valid = split(*posts(640, classes=4, seed=543))
loader = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
for epoch in range(2):
    for step, batch in enumerate(loader):
        model, loss = fit_batch(batch)
        if step % 10 == 0:
            print(epoch, step, loss)
