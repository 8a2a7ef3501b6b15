"""Five folds, one model made before them."""
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedKFold
from torch.utils.data import DataLoader, Subset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts

torch.manual_seed(71)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
texts, labels = posts(800, seed=521)
rows = list(zip(texts, labels))


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**e, "labels": torch.tensor([y for _, y in rows])}


scores = []
for fold, (train, valid) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(texts, labels)):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for epoch in range(2):
        model.train()
        for batch in DataLoader(Subset(rows, train), 16, shuffle=True, collate_fn=collate):
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        found = np.concatenate([model(**batch).logits.argmax(-1).numpy()
                                for batch in DataLoader(Subset(rows, valid), 32, collate_fn=collate)])
    scores.append(accuracy_score(np.array(labels)[valid], found))
    print("fold", fold, "loss", loss.item(), "accuracy", scores[-1])
print("mean", np.mean(scores))
