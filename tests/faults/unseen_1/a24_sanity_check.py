"""Checks the untrained accuracy first, then trains; reviews, dropout of 0.2 in the head."""
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

from corpus import encoder, reviews


class Film(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder())
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(384, 2))

    def forward(self, enc):
        return self.head(self.encoder(**enc).last_hidden_state[:, 0])


def accuracy(net, loader):
    net.eval()
    with torch.no_grad():
        return sum((net(e).argmax(1) == y).float().mean().item() for e, y in loader) / len(loader)


def train(net, loader, valid, epochs):
    opt = torch.optim.AdamW(net.parameters(), lr=4e-5)
    net.train()
    print(f"before training: {accuracy(net, valid):.3f}")
    for epoch in range(epochs):
        for e, y in loader:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(net(e), y)
            loss.backward()
            opt.step()
        print(f"after epoch {epoch}: {accuracy(net, valid):.3f}, loss {loss.item():.3f}")


torch.manual_seed(24)
tok = AutoTokenizer.from_pretrained(encoder())
rows = reviews(720, seed=24)
collate = lambda b: (tok([t for t, _ in b], padding=True, truncation=True, max_length=36, return_tensors="pt"),
                     torch.tensor([y for _, y in b]))
train(Film(), DataLoader(rows[:600], 16, shuffle=True, collate_fn=collate),
      DataLoader(rows[600:], 20, collate_fn=collate), epochs=3)
