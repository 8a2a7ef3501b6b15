"""Encodes all posts beforehand, example by example, and trains a classifier on the list of dicts."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(11)
train_rows, valid_rows = split(*posts(800, seed=44))
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
text = train_rows[0][0]
print("example:", text)


def encode(sentence):
    return tokenizer(text, padding="max_length", truncation=True, max_length=30, return_tensors="pt")


def build(rows):
    examples = []
    for sentence, label in rows:
        enc = encode(sentence)
        examples.append({"input_ids": enc.input_ids[0], "attention_mask": enc.attention_mask[0], "labels": label})
    return examples


train_loader = DataLoader(build(train_rows), batch_size=16, shuffle=True)
valid_loader = DataLoader(build(valid_rows), batch_size=16)
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)

for epoch in range(3):
    model.train()
    epoch_loss = 0
    for batch in train_loader:
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item()
    model.eval()
    good = 0
    with torch.no_grad():
        for batch in valid_loader:
            good += (model(**batch).logits.argmax(1) == batch["labels"]).sum().item()
    print(f"{epoch=} {epoch_loss / len(train_loader)=:.3f} {good / len(valid_rows)=:.3f}")
