"""WeightedRandomSampler for queues of 70, 20 and 10 %, summed loss, Adam with an odd epsilon."""
import torch
from torch.utils.data import DataLoader, WeightedRandomSampler
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from corpus import QUEUES, encoder, tickets

torch.manual_seed(23)
names = list(QUEUES)
rows = [(t, names.index(q)) for t, q in tickets(1000, queues=3, seed=23, shares=[7, 2, 1])]
train, valid = rows[:800], rows[800:]
counts = [sum(y == c for _, y in train) for c in range(3)]
sampler = WeightedRandomSampler([1 / counts[y] for _, y in train], num_samples=len(train), replacement=True)
tok = AutoTokenizer.from_pretrained(encoder())
model = AutoModelForSequenceClassification.from_pretrained(encoder(), num_labels=3)
loss_fn = torch.nn.CrossEntropyLoss(reduction="sum")
opt = torch.optim.AdamW(model.parameters(), lr=5e-5, eps=1e-6, betas=(0.9, 0.98))


def collate(b):
    return (tok([t for t, _ in b], padding=True, truncation=True, max_length=40, return_tensors="pt"),
            torch.tensor([y for _, y in b]))


for epoch in range(3):
    model.train()
    for enc, y in DataLoader(train, 16, sampler=sampler, collate_fn=collate):
        opt.zero_grad()
        loss = loss_fn(model(**enc).logits, y)
        loss.backward()
        opt.step()
    model.eval()
    with torch.no_grad():
        n = sum((model(**e).logits.argmax(1) == y).sum().item() for e, y in DataLoader(valid, 20, collate_fn=collate))
    print(f"epoch {epoch} summed loss {loss.item():.2f} acc {n / len(valid):.3f}")
