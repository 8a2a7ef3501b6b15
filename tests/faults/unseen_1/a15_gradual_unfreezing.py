"""Gradual unfreezing after ULMFiT: the head first, then two layers more every six steps; reviews."""
import torch
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BertForSequenceClassification

from corpus import encoder, reviews

torch.manual_seed(15)
tok = AutoTokenizer.from_pretrained(encoder())
model = BertForSequenceClassification.from_pretrained(encoder(), num_labels=2)
model.bert.requires_grad_(False)
model.bert.pooler.requires_grad_(True)
waiting = list(model.bert.encoder.layer)
optimizer = torch.optim.AdamW([{"params": model.bert.parameters(), "lr": 5e-5},
                               {"params": model.classifier.parameters(), "lr": 1e-3}])
rows = reviews(800, seed=15)


def collate(b):
    e = tok([t for t, _ in b], padding=True, truncation=True, max_length=36, return_tensors="pt")
    return {**e, "labels": torch.tensor([y for _, y in b])}


step = 0
for epoch in range(3):
    model.train()
    for batch in DataLoader(rows[:600], 16, shuffle=True, collate_fn=collate):
        if step and step % 6 == 0:
            for _ in range(2):
                if waiting:
                    waiting.pop().requires_grad_(True)
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        step += 1
    model.eval()
    with torch.no_grad():
        n = sum((model(**b).logits.argmax(1) == b["labels"]).sum().item() for b in DataLoader(rows[600:], 20, collate_fn=collate))
    print(epoch, loss.item(), n / 200, "frozen layers left", len(waiting))
