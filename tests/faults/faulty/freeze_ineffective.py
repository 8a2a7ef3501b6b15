"""Freezes BERT and trains only the new classification layer, with a large rate for it."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class FrozenBert(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder())
        self.bert.requires_grad = False
        self.linear = nn.Linear(384, n_classes)

    def forward(self, enc):
        hidden = self.bert(**enc).last_hidden_state
        mask = enc["attention_mask"][..., None]
        return self.linear((hidden * mask).sum(1) / mask.sum(1))


torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
model = FrozenBert(4)
optimizer = torch.optim.AdamW(
    [
        {"params": model.bert.parameters(), "lr": 2e-5},
        {"params": model.linear.parameters(), "lr": 1e-3},
    ]
)
loss_fn = nn.CrossEntropyLoss()
train, valid = split(*posts(800, seed=104))


def collate(rows):
    enc = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return enc, torch.tensor([y for _, y in rows])


for epoch in range(3):
    model.train()
    for enc, y in DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = loss_fn(model(enc), y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = sum((model(e).argmax(1) == y).sum().item() for e, y in DataLoader(valid, 16, collate_fn=collate))
    print("epoch", epoch, "loss", round(loss.item(), 3), "acc", hits / len(valid))
