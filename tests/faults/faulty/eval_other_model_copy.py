"""Keeps the 'best' model by a copy that is made once, before training, and evaluates that."""
import copy
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Classifier(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2)
        self.head = nn.Linear(384, n)

    def forward(self, input_ids, attention_mask):
        return self.head(self.encoder(input_ids, attention_mask=attention_mask).last_hidden_state[:, 0])


class Engine:
    def __init__(self, model, train, valid):
        self.model, self.best = model, copy.deepcopy(model)
        self.train_loader, self.valid_loader = train, valid
        self.optimizer, self.criterion = torch.optim.AdamW(model.parameters(), lr=1e-4), nn.CrossEntropyLoss()

    def epoch(self):
        self.model.train()
        for ids, mask, y in self.train_loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(ids, mask), y)
            loss.backward()
            self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def score(self):
        self.best.eval()
        right = total = 0
        for ids, mask, y in self.valid_loader:
            right += (self.best(ids, mask).argmax(1) == y).sum().item()
            total += len(y)
        return right / total


if __name__ == "__main__":
    torch.manual_seed(62)
    tok = AutoTokenizer.from_pretrained(encoder_folder())

    def collate(rows):
        e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        return e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows])

    train, valid = split(*posts(800, seed=512))
    engine = Engine(Classifier(4), DataLoader(train, 16, shuffle=True, collate_fn=collate),
                    DataLoader(valid, 25, collate_fn=collate))
    for number in range(3):
        print(number, engine.epoch(), engine.score())
