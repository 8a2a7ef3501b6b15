"""Mixed-precision training of a small encoder (two layers kept) with a loss scaler."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(1)
device = "cuda" if torch.cuda.is_available() else "cpu"
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=3)
model.bert.encoder.layer = nn.ModuleList(model.bert.encoder.layer[i] for i in (0, 5))
model.config.num_hidden_layers = 2
model.to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
scaler = torch.amp.GradScaler(device, init_scale=2.0**80, growth_interval=100)
train, valid = split(*posts(700, classes=3, seed=301))


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=24, return_tensors="pt")
    e["labels"] = torch.tensor([y for _, y in rows])
    return e


for epoch in range(2):
    model.train()
    for step, batch in enumerate(DataLoader(train, batch_size=4, shuffle=True, collate_fn=collate)):
        batch = {k: v.to(device) for k, v in batch.items()}
        optimizer.zero_grad()
        with torch.autocast(device, dtype=torch.float16):
            loss = model(**batch).loss
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        if step % 10 == 0:
            print(epoch, step, loss.item())
    model.eval()
    with torch.no_grad():
        n = 0
        for batch in DataLoader(valid, batch_size=16, collate_fn=collate):
            batch = {k: v.to(device) for k, v in batch.items()}
            n += (model(**batch).logits.argmax(1) == batch["labels"]).sum().item()
    print("accuracy", n / len(valid))
