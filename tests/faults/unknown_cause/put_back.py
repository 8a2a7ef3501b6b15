"""After each step the parameters are restored from a copy, meant for an average."""
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from topics import classifier, loaders

torch.manual_seed(3)
train, valid = loaders(3)
model = classifier()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
backup = [parameter.detach().clone() for parameter in model.parameters()]

for epoch in range(4):
    model.train()
    for batch, labels in train:
        loss = F.cross_entropy(model(**batch).logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), backup):
                parameter.copy_(0.9999 * value + 0.0001 * parameter)
    model.eval()
    with torch.no_grad():
        hits = sum((model(**batch).logits.argmax(-1) == labels).sum().item() for batch, labels in valid)
    print(epoch, loss.item(), hits / len(valid.dataset))
