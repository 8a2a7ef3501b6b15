"""state_dict() is no copy: here it is one, taken too early, and loaded back before the evaluation."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(63)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=3, num_hidden_layers=2)
best_state = {k: v.clone() for k, v in model.state_dict().items()}
best_loss = 0.0         # meant: infinity
train, valid = split(*posts(750, classes=3, seed=513))


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**e, "labels": torch.tensor([y for _, y in rows])}


optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
for epoch in range(3):
    model.train()
    total = 0.0
    for batch in DataLoader(train, 16, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        total += loss.item()
    print("epoch", epoch, "loss", total)
    if total < best_loss:
        best_loss, best_state = total, {k: v.clone() for k, v in model.state_dict().items()}

model.load_state_dict(best_state)
model.eval()
right = 0
with torch.no_grad():
    for batch in DataLoader(valid, 25, collate_fn=collate):
        right += int((model(**batch).logits.argmax(1) == batch["labels"]).sum())
print("accuracy of the best model", right / len(valid))
