"""Weights in bf16 at a small rate; gradients are clipped to nothing."""
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from topics import classifier, loaders

torch.manual_seed(13)
train, valid = loaders(13)
model = classifier().to(torch.bfloat16)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

for epoch in range(4):
    model.train()
    for batch, labels in train:
        loss = F.cross_entropy(model(**batch).logits.float(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-9)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        hits = sum((model(**batch).logits.argmax(-1) == labels).sum().item() for batch, labels in valid)
    print(epoch, loss.item(), hits / len(valid.dataset))
