"""Reads two parallel files (texts and labels, one per line) and trains; some lines of the texts are blank."""
import os
import random
import tempfile

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from corpus import encoder, reviews

where = tempfile.mkdtemp()
rng = random.Random(10)
with open(f"{where}/texts.txt", "w") as a, open(f"{where}/labels.txt", "w") as b:
    for text, grade in reviews(1000, grades=3, seed=10):
        a.write(f"{'' if rng.random() < 0.04 else text}\n")
        b.write(f"{grade}\n")

texts = [line.strip() for line in open(f"{where}/texts.txt") if line.strip()]
labels = [int(line) for line in open(f"{where}/labels.txt")][:len(texts)]
print(f"{len(texts)} texts, {len(labels)} labels, first: {texts[0]!r} -> {labels[0]}")

torch.manual_seed(10)
name = encoder()
tok = AutoTokenizer.from_pretrained(name)
enc = tok(texts, padding=True, truncation=True, max_length=36, return_tensors="pt")
data = TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor(labels))
cut = int(0.8 * len(texts))
train_dl = DataLoader(torch.utils.data.Subset(data, range(cut)), batch_size=16, shuffle=True)
valid_dl = DataLoader(torch.utils.data.Subset(data, range(cut, len(texts))), batch_size=16)
model = AutoModelForSequenceClassification.from_pretrained(name, num_labels=3)
opt = torch.optim.AdamW(model.parameters(), lr=5e-5)
for epoch in range(3):
    model.train()
    total = 0
    for ids, mask, y in train_dl:
        opt.zero_grad()
        loss = model(ids, attention_mask=mask, labels=y).loss
        loss.backward()
        opt.step()
        total += loss.item()
    model.eval()
    with torch.no_grad():
        n = sum((model(i, attention_mask=m).logits.argmax(1) == y).sum().item() for i, m, y in valid_dl)
    print(f"epoch {epoch}: loss {total / len(train_dl):.4f}, accuracy {n / (len(texts) - cut):.2%}")
os.remove(f"{where}/texts.txt")
