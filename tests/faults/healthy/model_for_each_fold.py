"""Cross-validation: a new model and a new optimizer for every fold."""
import sys
from pathlib import Path

import torch
from sklearn.model_selection import StratifiedKFold
from torch.utils.data import DataLoader, Subset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
texts, labels = posts(160, classes=4, seed=544)
rows = list(zip(texts, labels))


def collate(batch):
    enc = tokenizer([t for t, _ in batch], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**enc, "labels": torch.tensor([y for _, y in batch])}


scores = []
for fold, (train, valid) in enumerate(StratifiedKFold(4, shuffle=True, random_state=0).split(texts, labels)):
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    train_loader = DataLoader(Subset(rows, train), 8, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(Subset(rows, valid), 40, collate_fn=collate)
    for epoch in range(2):
        model.train()
        for batch in train_loader:
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = sum((model(**b).logits.argmax(-1) == b["labels"]).sum().item() for b in valid_loader)
    scores.append(hits / len(valid))
    print(fold, loss.item(), scores[-1])
print("mean", sum(scores) / len(scores))
