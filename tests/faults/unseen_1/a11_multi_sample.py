"""Multi-sample dropout over an encoder with a deep head; tickets."""
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

from corpus import QUEUES, encoder, tickets

torch.manual_seed(11)
ORDER = {q: i for i, q in enumerate(QUEUES)}


class MultiSample(nn.Module):
    def __init__(self, k=5):
        super().__init__()
        self.backbone = AutoModel.from_pretrained(encoder())
        self.drops = nn.ModuleList(nn.Dropout(0.1 + 0.05 * i) for i in range(k))
        self.fc = nn.Sequential(nn.Linear(384, 96), nn.GELU(), nn.Linear(96, 5))

    def forward(self, enc):
        x = self.backbone(**enc).last_hidden_state[:, 0]
        return torch.stack([self.fc(d(x)) for d in self.drops]).mean(0)


tok = AutoTokenizer.from_pretrained(encoder())
rows = tickets(850, seed=11)


def pack(b):
    return (tok([t for t, _ in b], padding=True, truncation=True, max_length=40, return_tensors="pt"),
            torch.tensor([ORDER[q] for _, q in b]))


model = MultiSample()
optimizer = torch.optim.AdamW(model.fc.parameters(), lr=3e-5, weight_decay=0.01)
sch = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=4)
for epoch in range(4):
    model.train()
    for enc, y in DataLoader(rows[:650], 16, shuffle=True, collate_fn=pack):
        model.zero_grad()
        loss = nn.functional.cross_entropy(model(enc), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    sch.step()
    model.eval()
    with torch.no_grad():
        n = sum((model(e).argmax(1) == y).sum().item() for e, y in DataLoader(rows[650:], 20, collate_fn=pack))
    print(epoch, f"{loss.item():.3f}", f"{n / 200:.3f}")
