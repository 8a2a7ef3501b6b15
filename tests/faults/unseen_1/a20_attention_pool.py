"""Attention pooling over the encoder's tokens with a residual head; tickets of five queues."""
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

from corpus import QUEUES, encoder, tickets


class AttentionPool(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.score = nn.Linear(d, 1)

    def forward(self, h, mask):
        s = self.score(h).squeeze(-1).masked_fill(mask == 0, float("-inf"))
        return (s.softmax(-1).unsqueeze(-1) * h).sum(1)


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder())
        self.pool = AttentionPool(384)
        self.mlp = nn.Sequential(nn.LayerNorm(384), nn.Linear(384, 384), nn.GELU(), nn.Linear(384, 384))
        self.out = nn.Linear(384, classes)

    def forward(self, input_ids, attention_mask, **_):
        h = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0].data
        v = self.pool(h, attention_mask)
        return self.out(v + self.mlp(v))


torch.manual_seed(20)
names = list(QUEUES)
rows = tickets(800, seed=20)
tok = AutoTokenizer.from_pretrained(encoder())


def collate(b):
    return (tok([t for t, _ in b], padding=True, truncation=True, max_length=40, return_tensors="pt"),
            torch.tensor([names.index(q) for _, q in b]))


net = Net(5)
opt = torch.optim.AdamW(net.parameters(), lr=3e-5)
for epoch in range(3):
    net.train()
    for e, y in DataLoader(rows[:600], 16, shuffle=True, collate_fn=collate):
        opt.zero_grad(); loss = nn.functional.cross_entropy(net(**e), y); loss.backward(); opt.step()
    net.eval()
    with torch.no_grad():
        n = sum((net(**e).argmax(1) == y).sum().item() for e, y in DataLoader(rows[600:], 20, collate_fn=collate))
    print(f"{epoch} {loss.item():.4f} {n / 200:.3f}")
