"""A public test set without its labels: -1 for each, and an accuracy worked out on it."""
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import accuracy_score
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(75)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=2, num_hidden_layers=2)
train, test = split(*posts(800, classes=2, seed=525))
test = [(text, -1) for text, _ in test]


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**e, "labels": torch.tensor([y for _, y in rows])}


optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
for epoch in range(3):
    model.train()
    for batch in DataLoader(train, 16, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
    model.eval()
    found, labels = [], []
    with torch.no_grad():
        for batch in DataLoader(test, 50, collate_fn=collate):
            labels.append(batch.pop("labels").numpy())
            found.append(model(**batch).logits.argmax(-1).numpy())
    print(epoch, loss.item(), accuracy_score(np.concatenate(labels), np.concatenate(found)))
