"""F.dropout with the training flag, and dropout layers left on in evaluation to tell how sure the model is."""
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
        self.drop, self.out = nn.Dropout(0.2), nn.Linear(384, n)

    def forward(self, e):
        return self.out(self.drop(F.dropout(self.bert(**e).last_hidden_state[:, 0], 0.1, self.training)))


torch.manual_seed(68)
tok, net = AutoTokenizer.from_pretrained(encoder_folder()), Net(4)
train, valid = split(*posts(800, seed=518))


def collate(rows):
    return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
            torch.tensor([y for _, y in rows]))


valid_loader = DataLoader(valid, 25, collate_fn=collate)
opt = torch.optim.AdamW(net.parameters(), lr=1e-4)
for epoch in range(2):
    net.train()
    for e, y in DataLoader(train, 16, shuffle=True, collate_fn=collate):
        opt.zero_grad()
        loss = F.cross_entropy(net(e), y)
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        right = sum((net(e).argmax(1) == y).sum().item() for e, y in valid_loader)
    print(epoch, loss.item(), right / len(valid))
net.drop.train()
with torch.no_grad():
    draws = torch.stack([torch.cat([net(e).softmax(-1) for e, _ in valid_loader]) for _ in range(3)])
print("mean entropy", float(-(draws.mean(0) * draws.mean(0).log()).sum(-1).mean()))
