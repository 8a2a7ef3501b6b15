"""A train_step() that makes its optimizer itself."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


def collate(rows):
    batch = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**batch, "labels": torch.tensor([y for _, y in rows])}


def train_step(model, batch, lr):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    model.train()
    optimizer.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(model, loader, count):
    model.eval()
    with torch.no_grad():
        return sum((model(**b).logits.argmax(-1) == b["labels"]).sum().item() for b in loader) / count


if __name__ == "__main__":
    torch.manual_seed(0)
    train, valid = split(*posts(720, classes=4, seed=531))
    train_loader = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, batch_size=30, collate_fn=collate)
    model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
    for epoch in range(3):
        losses = [train_step(model, batch, 5e-5) for batch in train_loader]
        print(epoch, sum(losses) / len(losses), evaluate(model, valid_loader, len(valid)))
