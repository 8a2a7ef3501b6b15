"""Adds the forum's own words to the tokenizer and trains a classifier on its posts."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import WORDS, encoder_folder, posts, split

torch.manual_seed(2)
tok = AutoTokenizer.from_pretrained(encoder_folder())
added = tok.add_tokens([w for words in WORDS.values() for w in words if len(tok.tokenize(w)) > 1])
print("added", added, "tokens")

train, valid = split(*posts(800, seed=95))


def collate(rows):
    enc = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    enc["labels"] = torch.tensor([y for _, y in rows])
    return enc


model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
for epoch in range(3):
    model.train()
    for batch in DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
    model.eval()
    right = 0
    with torch.no_grad():
        for batch in DataLoader(valid, batch_size=16, collate_fn=collate):
            right += (model(**batch).logits.argmax(1) == batch["labels"]).sum().item()
    print(epoch, loss.item(), right / len(valid))
