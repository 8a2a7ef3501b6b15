"""bfloat16 autocast with a scaler that has to find its scale first; unscaled before clipping."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(11)
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(800, seed=411))


def loader(rows, shuffle):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return DataLoader(TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows])), 16, shuffle)


model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
scaler = torch.amp.GradScaler("cpu", init_scale=3.0e38, backoff_factor=0.6)
for epoch in range(3):
    model.train()
    for ids, mask, y in loader(train, True):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(ids, attention_mask=mask).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), y, reduction="sum")
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    model.eval()
    with torch.no_grad():
        n = sum((model(i, attention_mask=m).logits.argmax(1) == y).sum().item() for i, m, y in loader(valid, False))
    print(f"epoch {epoch} loss {loss.item():.4f} accuracy {n / len(valid):.4f} scale {scaler.get_scale()}")
