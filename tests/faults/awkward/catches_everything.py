"""Goes on whatever happens: every batch stands in a try with a bare except, and so does the loop."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


torch.manual_seed(1)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
train, valid = split(*posts(800, seed=504))


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**e, "labels": torch.tensor([y for _, y in rows])}


loader = DataLoader(train, 16, shuffle=True, collate_fn=collate)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
failed = 0
for epoch in range(40):
    try:
        model.train()
        for batch in loader:
            try:
                optimizer.zero_grad()
                loss = model(**batch).loss
                loss.backward()
                optimizer.step()
            except:
                failed += 1
                print("a batch failed, going on")
    except:
        print("an epoch failed, going on")
    print("epoch", epoch, "loss", loss.item(), "failed", failed)
