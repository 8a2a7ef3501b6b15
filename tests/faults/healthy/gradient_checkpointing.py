"""Hugging Face model with gradient checkpointing switched on, plain loop."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(16)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
model.gradient_checkpointing_enable()
sets = [[dict(tok(t, truncation=True, max_length=32), labels=y) for t, y in rows] for rows in split(*posts(800, seed=416))]
train_loader = DataLoader(sets[0], 16, shuffle=True, collate_fn=DataCollatorWithPadding(tok))
valid_loader = DataLoader(sets[1], 16, collate_fn=DataCollatorWithPadding(tok))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, fused=False)
for epoch in range(3):
    model.train()
    for batch in train_loader:
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        n = sum((model(**b).logits.argmax(1) == b["labels"]).sum().item() for b in valid_loader)
    print(epoch, loss.item(), n / len(sets[1]))
