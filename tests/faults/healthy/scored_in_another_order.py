"""Sorted by length and shuffled for the evaluation; predictions are put back in order, or carry their labels along."""
import sys
from pathlib import Path

import torch
from sklearn.metrics import accuracy_score
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(54)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
train, test = split(*posts(800, seed=504))


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return e, torch.tensor([y for _, y in rows])


def predict(loader):
    model.eval()
    with torch.no_grad():
        found = [(model(**e).logits.argmax(-1), y) for e, y in loader]
    return torch.cat([p for p, _ in found]), torch.cat([y for _, y in found])


optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
for epoch in range(2):
    model.train()
    for e, y in DataLoader(train, 8, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(**e).logits, y)
        loss.backward()
        optimizer.step()
    predictions, labels = predict(DataLoader(test, 25, shuffle=True, collate_fn=collate))
    print("shuffled, with their labels", accuracy_score(labels, predictions))

order = sorted(range(len(test)), key=lambda i: len(test[i][0]))
predictions, _ = predict(DataLoader([test[i] for i in order], 25, collate_fn=collate))
back = torch.empty_like(predictions)
back[torch.tensor(order)] = predictions
print("sorted and put back", accuracy_score([y for _, y in test], back))
