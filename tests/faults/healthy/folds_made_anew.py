"""Folds with the weights put back to where they began, then a last stage on all rows but a test set of its own."""
import copy
import sys
from pathlib import Path

import torch
from sklearn.model_selection import KFold
from torch.utils.data import DataLoader, Subset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(74)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
beginning = copy.deepcopy(model.state_dict())
rows, test = split(*posts(900, seed=524), share=0.2)


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**e, "labels": torch.tensor([y for _, y in rows])}


def fit(part, epochs):
    model.load_state_dict(beginning)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(epochs):
        model.train()
        for batch in DataLoader(part, 16, shuffle=True, collate_fn=collate):
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
    return loss.item()


@torch.no_grad()
def accuracy(part):
    model.eval()
    return sum((model(**batch).logits.argmax(1) == batch["labels"]).sum().item()
               for batch in DataLoader(part, 32, collate_fn=collate)) / len(part)


for train, valid in KFold(3, shuffle=True, random_state=0).split(rows):
    print(fit(Subset(rows, train), 2), accuracy(Subset(rows, valid)))
print("all", fit(rows, 2), accuracy(test))
