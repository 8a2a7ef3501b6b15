"""The schedule moves once per epoch; all but the queries of a layer is frozen, the fresh head too."""
import sys
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import get_linear_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from topics import classifier, loaders

torch.manual_seed(8)
train, valid = loaders(8)
model = classifier()
for name, parameter in model.named_parameters():
    parameter.requires_grad = "layer.0.attention.self.query" in name
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
steps = 4 * len(train)
scheduler = get_linear_schedule_with_warmup(optimizer, steps // 40, steps)

for epoch in range(4):
    model.train()
    for batch, labels in train:
        loss = F.cross_entropy(model(**batch).logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    scheduler.step()
    model.eval()
    with torch.no_grad():
        hits = sum((model(**batch).logits.argmax(-1) == labels).sum().item() for batch, labels in valid)
    print(epoch, loss.item(), hits / len(valid.dataset))
