"""A linear head at 1e-3 on mean-pooled features of an encoder that stays as it is."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(4)
tok = AutoTokenizer.from_pretrained(encoder_folder())
encoder = AutoModel.from_pretrained(encoder_folder())
encoder.eval()
for p in encoder.parameters():
    p.requires_grad_(False)
head = nn.Linear(384, 4)
optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)


def features(texts):
    enc = tok(texts, padding=True, truncation=True, max_length=32, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder(**enc).last_hidden_state
    mask = enc["attention_mask"].unsqueeze(-1)
    return nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)) * 10


train, valid = split(*posts(1000, seed=404))
for epoch in range(5):
    head.train()
    for texts, y in DataLoader(train, batch_size=16, shuffle=True):
        loss = nn.functional.cross_entropy(head(features(list(texts))), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    head.eval()
    with torch.no_grad():
        n = sum((head(features(list(t))).argmax(1) == y).sum().item() for t, y in DataLoader(valid, 50))
    print(f"epoch {epoch} loss {loss.item():.3f} accuracy {n / len(valid):.3f}")
