"""Loads a two-class model, makes its optimizer, then fits the head to four classes and trains."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Experiment:
    def __init__(self, lr=3e-5, classes=4):
        torch.manual_seed(1)
        self.tok = AutoTokenizer.from_pretrained(encoder_folder())
        self.model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=2)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=lr)
        self.replace_head(classes)

    def replace_head(self, classes):
        self.model.classifier = nn.Sequential(nn.Linear(384, 384), nn.Tanh(), nn.Linear(384, classes))
        self.model.num_labels = self.model.config.num_labels = classes

    def collate(self, rows):
        e = self.tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        return {**e, "labels": torch.tensor([y for _, y in rows])}

    def train(self, rows):
        self.model.train()
        total = 0
        loader = DataLoader(rows, 16, shuffle=True, collate_fn=self.collate)
        for batch in loader:
            self.optimizer.zero_grad()
            loss = self.model(**batch).loss
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / len(loader)

    def test(self, rows):
        self.model.eval()
        right = 0
        with torch.no_grad():
            for batch in DataLoader(rows, 32, collate_fn=self.collate):
                right += (self.model(**batch).logits.argmax(1) == batch["labels"]).sum().item()
        return right / len(rows)


if __name__ == "__main__":
    experiment = Experiment()
    train_rows, test_rows = split(*posts(800, seed=212))
    for epoch in range(3):
        print(epoch, experiment.train(train_rows), experiment.test(test_rows))
