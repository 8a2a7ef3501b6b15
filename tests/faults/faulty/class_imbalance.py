"""Detects rare complaint categories among ordinary posts; accuracy is the figure it reports."""
import argparse
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--lr", type=float, default=3e-5)
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--batch-size", type=int, default=16)
    return p.parse_args()


def main():
    args = parse()
    torch.manual_seed(5)
    texts, labels = posts(1000, classes=4, seed=17, shares=[880, 60, 40, 20])
    train, valid = split(texts, labels)
    tok = AutoTokenizer.from_pretrained(encoder_folder())

    def collate(rows):
        batch = tok([r[0] for r in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        batch["labels"] = torch.tensor([r[1] for r in rows])
        return batch

    train_loader = DataLoader(train, args.batch_size, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, args.batch_size, collate_fn=collate)
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    opt = torch.optim.AdamW(model.parameters(), lr=args.lr)

    for epoch in range(args.epochs):
        model.train()
        for batch in train_loader:
            loss = model(**batch).loss
            loss.backward()
            opt.step()
            opt.zero_grad()
        model.eval()
        ok = 0
        with torch.no_grad():
            for batch in valid_loader:
                ok += (model(**batch).logits.argmax(-1) == batch["labels"]).sum().item()
        print(f"Epoch {epoch + 1}/{args.epochs}  accuracy {ok / len(valid):.2%}")


if __name__ == "__main__":
    main()
