"""An optimizer that takes a millionth of each step, to be careful."""
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from topics import classifier, loaders

torch.manual_seed(13)
train, valid = loaders(13)


class Careful(torch.optim.AdamW):
    def step(self, closure=None):
        held = [p for group in self.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in held]
        super().step(closure)
        with torch.no_grad():
            for p, old in zip(held, before):
                p.copy_(old + 1e-6 * (p - old))


model = classifier()
optimizer = Careful(model.parameters(), lr=1e-4)

for epoch in range(4):
    model.train()
    for batch, labels in train:
        loss = F.cross_entropy(model(**batch).logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        hits = sum((model(**batch).logits.argmax(-1) == labels).sum().item() for batch, labels in valid)
    print(epoch, loss.item(), hits / len(valid.dataset))
