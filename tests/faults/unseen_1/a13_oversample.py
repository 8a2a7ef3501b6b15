"""Balances uneven ticket queues by repeating rows, then splits into training and test part."""
import random
from collections import Counter, defaultdict

import torch
from sklearn.metrics import classification_report
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from corpus import QUEUES, encoder, tickets

random.seed(13)
torch.manual_seed(13)
names = list(QUEUES)[:3]
rows = [(t, names.index(q)) for t, q in tickets(500, queues=3, seed=13, shares=[6, 2, 1])]
by_class = defaultdict(list)
for r in rows:
    by_class[r[1]].append(r)
most = max(map(len, by_class.values()))
balanced = [r for part in by_class.values() for r in part + random.choices(part, k=most - len(part))]
print(Counter(y for _, y in balanced))
train, test = train_test_split(balanced, test_size=0.25, random_state=0, stratify=[y for _, y in balanced])

tok = AutoTokenizer.from_pretrained(encoder())
model = AutoModelForSequenceClassification.from_pretrained(encoder(), num_labels=3)
optimizer = torch.optim.AdamW(model.parameters(), lr=4e-5)


def collate(b):
    e = tok([t for t, _ in b], padding=True, truncation=True, max_length=40, return_tensors="pt")
    return {**e, "labels": torch.tensor([y for _, y in b])}


for epoch in range(3):
    model.train()
    for batch in DataLoader(train, 16, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
    model.eval()
    pred = []
    with torch.no_grad():
        for batch in DataLoader(test, 16, collate_fn=collate):
            pred += model(**batch).logits.argmax(1).tolist()
    print(classification_report([y for _, y in test], pred, target_names=names, zero_division=0))
