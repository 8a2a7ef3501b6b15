"""Everything frozen first, then the two top layers, the pooler and the head made trainable again."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(14)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
for p in model.parameters():
    p.requires_grad = False
for part in (model.bert.encoder.layer[4], model.bert.encoder.layer[5], model.bert.pooler, model.classifier):
    for p in part.parameters():
        p.requires_grad = True
print("trainable", sum(p.numel() for p in model.parameters() if p.requires_grad))
optimizer = torch.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-4)
train, valid = split(*posts(800, seed=414))


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**e, "labels": torch.tensor([y for _, y in rows])}


for epoch in range(3):
    model.train()
    for batch in DataLoader(train, 16, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        n = sum((model(**b).logits.argmax(1) == b["labels"]).sum().item() for b in DataLoader(valid, 16, collate_fn=collate))
    print(f"epoch {epoch} loss {loss.item():.4f} acc {n / len(valid):.4f}")
