"""SGD with a fine-tuning rate taken from a paper about Adam; reviews."""
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

from corpus import encoder, reviews

torch.manual_seed(19)
tok = AutoTokenizer.from_pretrained(encoder())
rows = [dict(tok(t, truncation=True, max_length=36), labels=g) for t, g in reviews(800, seed=19)]
pad = DataCollatorWithPadding(tok)
train, valid = DataLoader(rows[:600], 16, shuffle=True, collate_fn=pad), DataLoader(rows[600:], 20, collate_fn=pad)
model = AutoModelForSequenceClassification.from_pretrained(encoder(), num_labels=2)
opt = torch.optim.SGD(model.parameters(), lr=2e-5)
for epoch in range(3):
    model.train()
    s = 0
    for b in train:
        opt.zero_grad()
        loss = model(**b).loss
        loss.backward()
        opt.step()
        s += loss.item()
    model.eval()
    with torch.no_grad():
        n = sum((model(**b).logits.argmax(1) == b["labels"]).sum().item() for b in valid)
    print("epoch", epoch, "loss", s / len(train), "accuracy", n / 200)
