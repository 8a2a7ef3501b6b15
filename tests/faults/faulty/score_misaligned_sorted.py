"""Sorts the validation texts by length so that little is padded, and compares with the labels as they came."""
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2)
        self.out = nn.Linear(384, 3)

    def forward(self, batch):
        return self.out(self.bert(**batch).last_hidden_state.mean(1))


torch.manual_seed(52)
tok = AutoTokenizer.from_pretrained(encoder_folder())
(train, valid), net = split(*posts(750, classes=3, seed=502)), Net()


def encode(texts):
    return tok(texts, padding=True, truncation=True, max_length=40, return_tensors="pt")


def evaluate(rows):
    net.eval()
    texts, labels = sorted((t for t, _ in rows), key=len), np.array([y for _, y in rows])
    with torch.no_grad():
        logits = np.concatenate([net(encode(texts[i:i + 32])).numpy() for i in range(0, len(texts), 32)])
    return (logits.argmax(axis=1) == labels).mean()


opt = torch.optim.AdamW(net.parameters(), lr=1e-4)
criterion = nn.CrossEntropyLoss()
loader = DataLoader(train, 8, shuffle=True, collate_fn=lambda rows: (encode([t for t, _ in rows]),
                                                                     torch.tensor([y for _, y in rows])))
for epoch in range(2):
    net.train()
    for e, y in loader:
        opt.zero_grad()
        loss = criterion(net(e), y)
        loss.backward()
        opt.step()
    with torch.no_grad():       # a look at the loss, row by row, before the score
        seen = criterion(net(encode([t for t, _ in valid])), torch.tensor([y for _, y in valid]))
    print(f"epoch {epoch} train {loss.item():.3f} validation {seen.item():.3f} accuracy {evaluate(valid):.3f}")
