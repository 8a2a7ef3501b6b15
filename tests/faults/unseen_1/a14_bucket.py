"""A batch sampler that keeps similar tickets together, so that less padding is needed."""
import torch
from torch.utils.data import DataLoader, Sampler
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from corpus import QUEUES, encoder, tickets

torch.manual_seed(14)
names = list(QUEUES)


class Buckets(Sampler):
    """Batches of neighbours in the order of (queue, length), one queue after another."""

    def __init__(self, rows, size):
        order = sorted(range(len(rows)), key=lambda i: (rows[i][1], len(rows[i][0])))
        self.batches = [order[i:i + size] for i in range(0, len(order), size)]

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


rows = [(t, names.index(q)) for t, q in tickets(900, seed=14)]
tok = AutoTokenizer.from_pretrained(encoder())
model = AutoModelForSequenceClassification.from_pretrained(encoder(), num_labels=5)


def collate(b):
    e = tok([t for t, _ in b], padding=True, truncation=True, max_length=40, return_tensors="pt")
    return {**e, "labels": torch.tensor([y for _, y in b])}


train_dl = DataLoader(rows[:700], batch_sampler=Buckets(rows[:700], 16), collate_fn=collate)
valid_dl = DataLoader(rows[700:], batch_size=16, collate_fn=collate)
opt = torch.optim.AdamW(model.parameters(), lr=5e-5)
for epoch in range(3):
    model.train()
    for n, batch in enumerate(train_dl):
        opt.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        opt.step()
        if n % 10 == 0:
            print(epoch, n, round(loss.item(), 3))
    model.eval()
    with torch.no_grad():
        ok = sum((model(**b).logits.argmax(1) == b["labels"]).sum().item() for b in valid_dl)
    print("acc", ok / 200)
