"""Trains on the first 600 posts of an archive that is kept category by category."""
import random
import sys
from pathlib import Path

import torch
import torch.nn as nn
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts

torch.manual_seed(0)
archive = sorted(zip(*posts(1190, classes=3, seed=8, shares=[594, 298, 298])), key=lambda row: row[1])
train_rows = archive[:600]
random.Random(1).shuffle(train_rows)
held_out = random.Random(2).sample(archive[600:], 100)

tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
encoder = AutoModel.from_pretrained(encoder_folder())
head = nn.Linear(384, 3)
params = list(encoder.parameters()) + list(head.parameters())
optimizer = torch.optim.AdamW(params, lr=4e-5)
criterion = nn.CrossEntropyLoss()


def logits_of(texts):
    enc = tokenizer(texts, padding=True, truncation=True, max_length=32, return_tensors="pt")
    hidden = encoder(**enc).last_hidden_state
    mask = enc["attention_mask"].unsqueeze(-1).float()
    return head((hidden * mask).sum(1) / mask.sum(1))


for epoch in range(3):
    encoder.train()
    order = list(train_rows)
    random.shuffle(order)
    for start in range(0, len(order), 16):
        chunk = order[start:start + 16]
        loss = criterion(logits_of([t for t, _ in chunk]), torch.tensor([y for _, y in chunk]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if start % 160 == 0:
            print(f"epoch {epoch} row {start}: {loss.item():.4f}")
    encoder.eval()
    with torch.no_grad():
        pred = torch.cat([logits_of([t for t, _ in held_out[i:i + 50]]).argmax(1) for i in (0, 50)])
    print("accuracy", (pred == torch.tensor([y for _, y in held_out])).float().mean().item())
