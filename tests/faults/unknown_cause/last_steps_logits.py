"""The loss compares the logits of the step before with the labels of this one."""
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from topics import classifier, loaders

torch.manual_seed(2)
train, valid = loaders(2)
model = classifier()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
kept = torch.zeros(32, 4)

for epoch in range(4):
    model.train()
    for batch, labels in train:
        logits = model(**batch).logits
        loss = F.cross_entropy(kept + 0 * logits, labels)
        kept = logits.detach()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        hits = sum((model(**batch).logits.argmax(-1) == labels).sum().item() for batch, labels in valid)
    print(epoch, loss.item(), hits / len(valid.dataset))
