"""Support tickets, five queues; exponential decay of the rate written by hand, no DataLoader."""
import random

import torch
import torch.nn as nn
from transformers import BertModel, BertTokenizer

from corpus import QUEUES, chunks, encoder, tickets

random.seed(3); torch.manual_seed(3)
names = list(QUEUES)
rows = [(t, names.index(q)) for t, q in tickets(900, seed=2)]
tr, te = rows[:700], rows[700:]
tokenizer = BertTokenizer.from_pretrained(encoder())
bert = BertModel.from_pretrained(encoder())
out = nn.Linear(384, 5)
opt = torch.optim.AdamW([{"params": bert.parameters(), "lr": 4e-5}, {"params": out.parameters(), "lr": 4e-4}])
DECAY = 0.6


def fwd(part):
    enc = tokenizer([t for t, _ in part], return_tensors="pt", padding=True, truncation=True, max_length=40)
    return out(bert(**enc).pooler_output), torch.tensor([y for _, y in part])


for ep in range(5):
    bert.train()
    random.shuffle(tr)
    for i, part in enumerate(chunks(tr, 16)):
        logits, y = fwd(part)
        loss = nn.functional.cross_entropy(logits, y)
        opt.zero_grad(); loss.backward(); opt.step()
        for group in opt.param_groups:
            group["lr"] *= DECAY
        if i % 10 == 0: print(ep, i, loss.item())
    bert.eval()
    with torch.no_grad():
        good = sum((l.argmax(1) == y).sum().item() for l, y in map(fwd, chunks(te, 20)))
    print("EPOCH", ep, "ACC", good / len(te))
