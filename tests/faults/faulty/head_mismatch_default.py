"""Sequence classification of four categories with the library's default head."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(0)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder())
train, valid = split(*posts(800, classes=4, seed=113))
enc = tok([t for t, _ in train], padding=True, truncation=True, max_length=32, return_tensors="pt")
loader = DataLoader(
    TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor([y for _, y in train])),
    batch_size=16, shuffle=True,
)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
model.train()
for epoch in range(3):
    for ids, mask, labels in loader:
        optimizer.zero_grad()
        loss = model(ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
