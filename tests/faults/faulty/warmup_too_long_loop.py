"""Plain loop over posts with a cosine schedule and warm-up, three epochs of 38 steps."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_cosine_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(7)
EPOCHS = 3
tok = AutoTokenizer.from_pretrained(encoder_folder())
net = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=3)
train, valid = split(*posts(800, classes=3, seed=207))


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=30, return_tensors="pt")
    e["labels"] = torch.tensor([y for _, y in rows])
    return e


train_dl = DataLoader(train, 16, shuffle=True, collate_fn=collate)
valid_dl = DataLoader(valid, 16, collate_fn=collate)
opt = torch.optim.AdamW(net.parameters(), lr=2e-5)
sched = get_cosine_schedule_with_warmup(opt, num_warmup_steps=10_000, num_training_steps=100_000)
for epoch in range(EPOCHS):
    net.train()
    for b in train_dl:
        loss = net(**b).loss
        loss.backward()
        opt.step()
        sched.step()
        opt.zero_grad()
    net.eval()
    with torch.no_grad():
        right = sum((net(**b).logits.argmax(-1) == b["labels"]).sum().item() for b in valid_dl)
    print(f"epoch {epoch}: loss {loss.item():.3f} valid {right / len(valid):.3f} lr {sched.get_last_lr()[0]:.2e}")
