"""Trains on posts of three categories with a model set up from an older project's configuration."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

CONFIG = {"num_labels": 20, "lr": 5e-5, "epochs": 3, "batch_size": 16, "max_length": 30, "seed": 42}


def main(cfg):
    torch.manual_seed(cfg["seed"])
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=cfg["num_labels"])

    def collate(rows):
        enc = tokenizer([t for t, _ in rows], padding=True, truncation=True,
                        max_length=cfg["max_length"], return_tensors="pt")
        return {**enc, "labels": torch.tensor([y for _, y in rows])}

    train, valid = split(*posts(800, classes=3, seed=112))
    train_loader = DataLoader(train, batch_size=cfg["batch_size"], shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, batch_size=cfg["batch_size"], collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg["lr"])
    for epoch in range(cfg["epochs"]):
        model.train()
        total = 0.0
        for batch in train_loader:
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            right = sum((model(**b).logits.argmax(-1) == b["labels"]).sum().item() for b in valid_loader)
        print(f"epoch {epoch}: train loss {total / len(train_loader):.4f}, val acc {right / len(valid):.4f}")


if __name__ == "__main__":
    main(CONFIG)
