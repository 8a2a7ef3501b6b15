"""Streams a CSV through an IterableDataset with a shuffle buffer."""
import csv
import random
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, write_csv


class Stream(IterableDataset):
    def __init__(self, path, tokenizer, buffer=0):
        self.path, self.tokenizer, self.buffer = path, tokenizer, buffer

    def rows(self):
        with open(self.path, newline="", encoding="utf-8") as f:
            for r in csv.DictReader(f):
                e = self.tokenizer(r["text"], truncation=True, padding="max_length", max_length=28)
                yield {"input_ids": torch.tensor(e["input_ids"]), "attention_mask": torch.tensor(e["attention_mask"]),
                       "labels": torch.tensor(int(r["label"]))}

    def __iter__(self):
        held = []
        for row in self.rows():
            held.append(row)
            if len(held) > self.buffer:
                yield held.pop(random.randrange(len(held)))
        random.shuffle(held)
        yield from held


random.seed(20)
torch.manual_seed(20)
folder = write_csv(n=900, seed=420)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
for epoch in range(3):
    model.train()
    for step, batch in enumerate(DataLoader(Stream(f"{folder}/train.csv", tok, buffer=200), batch_size=16)):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(epoch, step, loss.item())
    model.eval()
    right = total = 0
    with torch.no_grad():
        for batch in DataLoader(Stream(f"{folder}/valid.csv", tok), batch_size=16):
            right += (model(**batch).logits.argmax(1) == batch["labels"]).sum().item()
            total += len(batch["labels"])
    print("accuracy", right / total)
