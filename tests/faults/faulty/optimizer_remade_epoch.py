"""Each epoch begins with a new Adam, for a smaller rate."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(0)
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(640, classes=4, seed=532))


def as_set(rows):
    enc = tok([t for t, _ in rows], truncation=True, padding=True, max_length=32, return_tensors="pt")
    return TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor([y for _, y in rows]))


train_loader, valid_loader = DataLoader(as_set(train), 16, shuffle=True), DataLoader(as_set(valid), 40)
encoder = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2)
head = nn.Linear(384, 4)
lr = 1e-4
for epoch in range(6):
    optimizer = torch.optim.Adam(list(encoder.parameters()) + list(head.parameters()), lr=lr)
    encoder.train()
    for ids, mask, y in train_loader:
        loss = nn.functional.cross_entropy(head(encoder(ids, attention_mask=mask).last_hidden_state.mean(1)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    lr *= 0.7
    encoder.eval()
    with torch.no_grad():
        hits = sum((head(encoder(i, attention_mask=m).last_hidden_state.mean(1)).argmax(1) == y).sum().item()
                   for i, m, y in valid_loader)
    print(epoch, loss.item(), hits / len(valid))
