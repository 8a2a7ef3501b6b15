"""Label smoothing of 0.1 and a cosine schedule per step with warm-up."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_cosine_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, write_csv
import csv


class Csv(Dataset):
    def __init__(self, path):
        with open(path, newline="", encoding="utf-8") as f:
            self.rows = [(r["text"], int(r["label"])) for r in csv.DictReader(f)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


torch.manual_seed(6)
folder = write_csv(n=800, classes=4, seed=406)
tok = AutoTokenizer.from_pretrained(encoder_folder())


def collate(rows):
    return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
            torch.tensor([y for _, y in rows]))


train = DataLoader(Csv(f"{folder}/train.csv"), 16, shuffle=True, collate_fn=collate)
valid = DataLoader(Csv(f"{folder}/valid.csv"), 16, collate_fn=collate)
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
scheduler = get_cosine_schedule_with_warmup(optimizer, 10, 3 * len(train))
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
for epoch in range(3):
    model.train()
    for enc, y in train:
        optimizer.zero_grad()
        loss = criterion(model(**enc).logits, y)
        loss.backward()
        optimizer.step()
        scheduler.step()
    model.eval()
    with torch.no_grad():
        n = sum((model(**e).logits.argmax(1) == y).sum().item() for e, y in valid)
    print(f"epoch {epoch} loss {loss.item():.3f} accuracy {n / 200:.3f}")
