"""The head alone for one epoch, then the whole model: a new optimizer for each stage."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


def collate(rows):
    batch = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**batch, "labels": torch.tensor([y for _, y in rows])}


torch.manual_seed(0)
train, valid = split(*posts(640, classes=4, seed=534))
train_loader = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
valid_loader = DataLoader(valid, batch_size=40, collate_fn=collate)
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
for stage, (rate, epochs) in enumerate([(1e-3, 1), (5e-5, 3)]):
    for parameter in model.bert.parameters():
        parameter.requires_grad = stage > 0
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    for epoch in range(epochs):
        model.train()
        for batch in train_loader:
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            hits = sum((model(**b).logits.argmax(-1) == b["labels"]).sum().item() for b in valid_loader)
        print(stage, epoch, loss.item(), hits / len(valid))
