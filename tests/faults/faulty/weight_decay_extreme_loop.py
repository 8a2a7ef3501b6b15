"""Plain loop with AdamW in two parameter groups: no decay for biases and norms."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(18)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
no_decay = ("bias", "LayerNorm.weight")
groups = [
    {"params": [p for n, p in model.named_parameters() if not n.endswith(no_decay)], "weight_decay": 1000.0},
    {"params": [p for n, p in model.named_parameters() if n.endswith(no_decay)], "weight_decay": 0.0},
]
optimizer = torch.optim.AdamW(groups, 4e-5)
train, valid = split(*posts(800, seed=220))


def encoded(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=30, return_tensors="pt")
    return TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows]))


train_loader, valid_loader = DataLoader(encoded(train), 16, shuffle=True), DataLoader(encoded(valid), 32)
for epoch in range(3):
    model.train()
    for ids, mask, y in train_loader:
        optimizer.zero_grad()
        loss, logits = model(ids, attention_mask=mask, labels=y)[:2]
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        n = sum((model(ids, attention_mask=mask)[0].argmax(1) == y).sum().item() for ids, mask, y in valid_loader)
    print(f"{epoch}  {loss.item():.4f}  {n / len(valid):.4f}")
