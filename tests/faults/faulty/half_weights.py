"""Loads the encoder in a small number format to save memory and fine-tunes all of it."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Net(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder(), dtype=dtype)
        self.head = nn.Linear(384, 4, dtype=dtype)

    def forward(self, enc):
        return self.head(self.encoder(**enc).last_hidden_state[:, 0]).float()


torch.manual_seed(4)
tok = AutoTokenizer.from_pretrained(encoder_folder())
net = Net(torch.bfloat16)
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-5, weight_decay=0.01)
criterion = nn.CrossEntropyLoss()
train, valid = split(*posts(800, seed=304))


def collate(rows):
    return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
            torch.tensor([y for _, y in rows]))


for epoch in range(3):
    net.train()
    total = 0
    for enc, y in DataLoader(train, 16, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = criterion(net(enc), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(y)
    net.eval()
    with torch.no_grad():
        n = sum((net(e).argmax(1) == y).sum().item() for e, y in DataLoader(valid, 16, collate_fn=collate))
    print(f"epoch {epoch} loss {total / len(train):.4f} accuracy {n / len(valid):.4f}")
