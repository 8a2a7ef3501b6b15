"""Trains, then loads the checkpoint's name again for the test."""
import sys
from pathlib import Path

import torch
from sklearn.metrics import accuracy_score
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

MODEL = encoder_folder()
torch.manual_seed(61)
tok = AutoTokenizer.from_pretrained(MODEL)
train, test = split(*posts(800, seed=511))


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**e, "labels": torch.tensor([y for _, y in rows])}


def fit():
    model = AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=4, num_hidden_layers=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()
    for epoch in range(3):
        for batch in DataLoader(train, 16, shuffle=True, collate_fn=collate):
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        print("epoch", epoch, "loss", loss.item())


def test_model():
    model = AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=4, num_hidden_layers=2).eval()
    predicted, labels = [], []
    with torch.no_grad():
        for batch in DataLoader(test, 25, collate_fn=collate):
            labels += batch.pop("labels").tolist()
            predicted += model(**batch).logits.argmax(-1).tolist()
    print("test accuracy", accuracy_score(labels, predicted))


fit()
test_model()
