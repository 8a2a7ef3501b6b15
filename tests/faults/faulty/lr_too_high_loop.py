"""Plain PyTorch loop with Adam, an encoder and a linear head."""
import sys
from pathlib import Path

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder())
        self.fc = nn.Linear(384, 4)

    def forward(self, ids, mask):
        _, pooled = self.bert(ids, attention_mask=mask, return_dict=False)
        return self.fc(pooled)


torch.manual_seed(0)
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(800, seed=211))
loaders = []
for rows in (train, valid):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=30, return_tensors="pt")
    data = TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows]))
    loaders.append(DataLoader(data, batch_size=16, shuffle=rows is train))
model = Bert()
optimizer = optim.Adam(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()
for epoch in range(5):
    model.train()
    train_loss = 0
    for ids, mask, y in loaders[0]:
        optimizer.zero_grad()
        loss = criterion(model(ids, mask), y)
        loss.backward()
        optimizer.step()
        train_loss += loss.item()
    model.eval()
    right = 0
    with torch.no_grad():
        for ids, mask, y in loaders[1]:
            right += (model(ids, mask).argmax(1) == y).sum().item()
    print("epoch %d loss %.3f acc %.3f" % (epoch, train_loss / len(loaders[0]), right / len(valid)))
