"""Every post was labelled by three annotators; each of their judgements is a training row."""
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts


@dataclass
class Config:
    lr: float = 5e-5
    batch_size: int = 16
    epochs: int = 2
    max_length: int = 28
    agreement: float = 0.4
    seed: int = 13


def judgements(texts, labels, cfg):
    rng = random.Random(cfg.seed)
    rows = []
    for text, label in zip(texts, labels):
        for _ in range(3):
            rows.append((text, label if rng.random() < cfg.agreement else rng.randrange(4)))
    rng.shuffle(rows)
    return rows


def main(cfg=Config()):
    torch.manual_seed(cfg.seed)
    texts, labels = posts(700, seed=cfg.seed)
    train = judgements(texts[:500], labels[:500], cfg)
    valid = list(zip(texts[500:], labels[500:]))
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    opt = torch.optim.AdamW(model.parameters(), lr=cfg.lr)

    def collate(rows):
        enc = tok([t for t, _ in rows], padding=True, truncation=True, max_length=cfg.max_length, return_tensors="pt")
        enc["labels"] = torch.tensor([y for _, y in rows])
        return enc

    loaders = {
        "train": DataLoader(train, cfg.batch_size, shuffle=True, collate_fn=collate),
        "valid": DataLoader(valid, cfg.batch_size, collate_fn=collate),
    }
    for epoch in range(cfg.epochs):
        model.train()
        for i, batch in enumerate(loaders["train"]):
            opt.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            opt.step()
            if i % 20 == 0:
                print(epoch, i, f"{loss.item():.3f}")
        model.eval()
        with torch.no_grad():
            hits = sum((model(**b).logits.argmax(-1) == b["labels"]).sum().item() for b in loaders["valid"])
        print("valid", hits / len(valid))


if __name__ == "__main__":
    main()
