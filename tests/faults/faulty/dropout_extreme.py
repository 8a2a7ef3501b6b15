"""Trains an encoder with a strongly regularised head."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

KEEP = 0.99      # share of the features kept


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder())
        self.dropout = nn.Dropout(KEEP)
        self.linear = nn.Linear(384, 4)

    def forward(self, ids, mask, labels=None):
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        logits = self.linear(self.dropout(hidden[:, 0]))
        loss = nn.functional.cross_entropy(logits, labels) if labels is not None else None
        return loss, logits


torch.manual_seed(5)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
sets = []
for rows in split(*posts(800, seed=115)):
    e = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    sets.append(TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows])))
train_loader, valid_loader = DataLoader(sets[0], 16, shuffle=True), DataLoader(sets[1], 16)
model = Classifier()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
for epoch in range(3):
    model.train()
    for ids, mask, y in train_loader:
        optimizer.zero_grad()
        loss, _ = model(ids, mask, y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = [(model(ids, mask)[1].argmax(1) == y).float().mean().item() for ids, mask, y in valid_loader]
    print("epoch", epoch, "loss", loss.item(), "acc", sum(hits) / len(hits))
