"""F.dropout in forward, without the training flag."""
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2)
        self.fc1, self.fc2 = nn.Linear(384, 128), nn.Linear(128, n)

    def forward(self, e):
        x = F.dropout(self.bert(**e).last_hidden_state[:, 0], p=0.5)
        return self.fc2(F.relu(self.fc1(x)))


torch.manual_seed(65)
tok, net = AutoTokenizer.from_pretrained(encoder_folder()), Net(4)
train, valid = split(*posts(800, seed=515))


def collate(rows):
    return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
            torch.tensor([y for _, y in rows]))


opt = torch.optim.AdamW(net.parameters(), lr=1e-4)
for epoch in range(3):
    net.train()
    for e, y in DataLoader(train, 8, shuffle=True, collate_fn=collate):
        opt.zero_grad()
        loss = F.cross_entropy(net(e), y)
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        right = sum((net(e).argmax(1) == y).sum().item() for e, y in DataLoader(valid, 25, collate_fn=collate))
    print(epoch, loss.item(), right / len(valid))
