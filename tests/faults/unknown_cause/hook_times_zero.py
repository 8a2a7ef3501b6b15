"""A forward hook, left from an ablation, multiplies the hidden states by zero."""
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from topics import classifier, loaders

torch.manual_seed(13)
train, valid = loaders(13)
model = classifier()
model.bert.encoder.layer[-1].register_forward_hook(
    lambda layer, given, output: output * 0 if torch.is_tensor(output) else (output[0] * 0, *output[1:]))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

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
