"""The first weights are loaded again at the begin of every epoch."""
import sys
from pathlib import Path

import torch
import copy

from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2)
        self.out = nn.Linear(384, 4)

    def forward(self, batch):
        return self.out(self.encoder(**batch).last_hidden_state[:, 0])


def train_epoch(model, weights, optimizer, loader):
    model.load_state_dict(weights)
    model.train()
    for batch, labels in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch), labels)
        loss.backward()
        optimizer.step()
    return loss.item()


def main():
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())

    def collate(rows):
        texts, labels = zip(*rows)
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=32, return_tensors="pt")
        return batch, torch.tensor(labels)

    train, valid = split(*posts(640, classes=4, seed=542))
    train_loader = DataLoader(train, 16, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, 40, collate_fn=collate)
    model = Classifier()
    weights = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    for epoch in range(4):
        loss = train_epoch(model, weights, optimizer, train_loader)
        model.eval()
        with torch.no_grad():
            hits = sum((model(b).argmax(1) == y).sum().item() for b, y in valid_loader)
        print(epoch, loss, hits / len(valid))


if __name__ == "__main__":
    main()
