"""Splits the data anew at the beginning of every epoch."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts


class Posts(Dataset):
    def __init__(self, tok):
        texts, labels = posts(600, classes=3, seed=522)
        self.encoded = tok(texts, padding="max_length", truncation=True, max_length=28, return_tensors="pt")
        self.labels = torch.tensor(labels)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.encoded["input_ids"][i], self.encoded["attention_mask"][i], self.labels[i]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert, self.out = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2), nn.Linear(384, 3)

    def forward(self, ids, mask):
        return self.out(self.bert(ids, attention_mask=mask).last_hidden_state[:, 0])


def train_epoch(net, loader, optimizer):
    net.train()
    for ids, mask, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(ids, mask), y)
        loss.backward()
        optimizer.step()
    return loss.item()


def evaluate(net, loader):
    net.eval()
    with torch.no_grad():
        right = [(net(ids, mask).argmax(1) == y) for ids, mask, y in loader]
    return torch.cat(right).float().mean().item()


torch.manual_seed(72)
data, net = Posts(AutoTokenizer.from_pretrained(encoder_folder())), Net()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
for epoch in range(4):
    train, valid = random_split(data, [450, 150])
    loss = train_epoch(net, DataLoader(train, 16, shuffle=True), optimizer)
    print(epoch, loss, evaluate(net, DataLoader(valid, 30)))
