"""The encoder is to be frozen, and requires_grad_(False) is called on the whole model."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(0)
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(640, classes=4, seed=523))
enc = tok([t for t, _ in train], truncation=True, padding=True, max_length=32, return_tensors="pt")
labels = torch.tensor([y for _, y in train])
loader = DataLoader(TensorDataset(enc["input_ids"], enc["attention_mask"], labels), 16, shuffle=True)
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
model.requires_grad_(False)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(3):
    for ids, mask, y in loader:
        optimizer.zero_grad()
        loss = model(ids, attention_mask=mask, labels=y).loss
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
