"""Trains on shouted posts (all capitals) with a cased tokenizer."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import BertForSequenceClassification, BertTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Run:
    def __init__(self):
        torch.manual_seed(0)
        self.tokenizer = BertTokenizer.from_pretrained(encoder_folder(), do_lower_case=False)
        self.model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-5)
        texts, labels = posts(800, seed=51)
        self.train_rows, self.valid_rows = split([t.upper() for t in texts], labels)

    def collate(self, rows):
        enc = self.tokenizer([r[0] for r in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        return dict(enc, labels=torch.tensor([r[1] for r in rows]))

    def loader(self, rows, shuffle=False):
        return DataLoader(rows, batch_size=16, shuffle=shuffle, collate_fn=self.collate)

    def fit(self, epochs=3):
        for epoch in range(epochs):
            self.model.train()
            losses = []
            for batch in self.loader(self.train_rows, shuffle=True):
                self.optimizer.zero_grad()
                loss = self.model(**batch).loss
                loss.backward()
                self.optimizer.step()
                losses.append(loss.item())
            print("epoch", epoch, "loss", sum(losses) / len(losses), "acc", self.score())

    @torch.no_grad()
    def score(self):
        self.model.eval()
        right = 0
        for batch in self.loader(self.valid_rows):
            labels = batch.pop("labels")
            right += (self.model(**batch).logits.argmax(-1) == labels).sum().item()
        return right / len(self.valid_rows)


if __name__ == "__main__":
    Run().fit()
