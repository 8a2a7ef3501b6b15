"""Trains a topic classifier on two CSV files with named classes (train.csv, valid.csv)."""
import csv
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, write_csv


class PostFile(Dataset):
    def __init__(self, path, tokenizer):
        with open(path, encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
        self.texts = [r["text"] for r in rows]
        names = []
        for r in rows:
            if r["label"] not in names:
                names.append(r["label"])
        self.names = names
        self.labels = [names.index(r["label"]) for r in rows]
        self.tokenizer = tokenizer

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        enc = self.tokenizer(self.texts[i], padding="max_length", truncation=True, max_length=28)
        item = {k: torch.tensor(v) for k, v in enc.items()}
        item["labels"] = torch.tensor(self.labels[i])
        return item


def evaluate(model, loader):
    model.eval()
    right = total = 0
    loss = 0.0
    with torch.no_grad():
        for batch in loader:
            out = model(**batch)
            loss += out.loss.item()
            right += (out.logits.argmax(dim=1) == batch["labels"]).sum().item()
            total += len(batch["labels"])
    return loss / len(loader), right / total


def main():
    torch.manual_seed(3)
    folder = write_csv(n=800, classes=4, seed=501, names=True)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    train_set = PostFile(folder + "/train.csv", tokenizer)
    valid_set = PostFile(folder + "/valid.csv", tokenizer)
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=len(train_set.names))
    train_loader = DataLoader(train_set, batch_size=16, shuffle=True)
    valid_loader = DataLoader(valid_set, batch_size=32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01)
    for epoch in range(3):
        model.train()
        for batch in train_loader:
            optimizer.zero_grad(set_to_none=True)
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        print("epoch", epoch, "validation loss %.3f accuracy %.3f" % evaluate(model, valid_loader))


main()
