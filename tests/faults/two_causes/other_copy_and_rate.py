"""The optimizer holds the model that was copied, and has a rate of next to nothing."""
import sys
from pathlib import Path

import torch
import copy

from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from topics import classifier, loaders

torch.manual_seed(1)
train, valid = loaders(1)
first = classifier()
optimizer = torch.optim.AdamW(first.parameters(), lr=5e-11)
model = copy.deepcopy(first)

for epoch in range(4):
    model.train()
    for batch, labels in train:
        loss = F.cross_entropy(model(**batch).logits, labels)
        loss.backward()
        optimizer.step()
        model.zero_grad()
    model.eval()
    with torch.no_grad():
        hits = sum((model(**batch).logits.argmax(-1) == labels).sum().item() for batch, labels in valid)
    print(epoch, loss.item(), hits / len(valid.dataset))
