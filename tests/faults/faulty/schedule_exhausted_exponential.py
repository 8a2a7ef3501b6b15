"""Fine-tunes an encoder with an exponentially decaying rate."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = AutoModel.from_pretrained(encoder_folder())
        self.top = nn.Linear(384, 4)

    def forward(self, e):
        h = self.base(**e).last_hidden_state
        w = e["attention_mask"].unsqueeze(2)
        return self.top((h * w).sum(1) / w.sum(1))


torch.manual_seed(5)
tok = AutoTokenizer.from_pretrained(encoder_folder())


def together(rows):
    e = tok([r[0] for r in rows], return_tensors="pt", padding=True, truncation=True, max_length=32)
    return e, torch.tensor([r[1] for r in rows])


train, valid = split(*posts(1000, seed=209))
m = M()
opt = torch.optim.AdamW(m.parameters(), lr=3e-5)
sched = ExponentialLR(opt, gamma=0.5)
for epoch in range(3):
    m.train()
    for n, (e, y) in enumerate(DataLoader(train, 16, True, collate_fn=together)):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(m(e), y)
        loss.backward()
        opt.step()
        sched.step()
        if n % 15 == 0:
            print(epoch, n, loss.item())
    m.eval()
    with torch.no_grad():
        hits = sum((m(e).argmax(1) == y).sum().item() for e, y in DataLoader(valid, 25, collate_fn=together))
    print("accuracy", hits / len(valid))
