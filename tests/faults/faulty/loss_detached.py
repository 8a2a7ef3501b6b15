"""Trains directly for accuracy: the share of wrong predictions is the loss."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(0)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
train, valid = split(*posts(800, seed=221))
enc = tok([t for t, _ in train], padding=True, truncation=True, max_length=32, return_tensors="pt")
loader = DataLoader(TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor([y for _, y in train])),
                    batch_size=16, shuffle=True)

for epoch in range(3):
    model.train()
    for ids, mask, labels in loader:
        optimizer.zero_grad()
        predictions = model(ids, attention_mask=mask).logits.argmax(dim=1)
        loss = (predictions != labels).float().mean()
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "wrong", loss.item())
