"""torch.max gives values and places; the values are compared with the labels."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(55)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
train, valid = split(*posts(800, seed=505))


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**e, "labels": torch.tensor([y for _, y in rows])}


optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
for epoch in range(3):
    model.train()
    for batch in DataLoader(train, 16, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
    model.eval()
    right = 0
    with torch.no_grad():
        for batch in DataLoader(valid, 20, collate_fn=collate):
            probabilities = torch.softmax(model(**batch).logits, dim=1)
            predicted = torch.round(torch.max(probabilities, 1)[0])
            right += (predicted == batch["labels"]).sum().item()
    print(f"epoch {epoch} loss {loss.item():.4f} accuracy {right / len(valid):.4f}")
