"""Gradients are rounded to whole numbers by a hook, for a transfer that came to nothing."""
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from topics import classifier, loaders

torch.manual_seed(8)
train, valid = loaders(8)
model = classifier()
for parameter in model.parameters():
    parameter.register_hook(lambda gradient: gradient.round())
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)

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
