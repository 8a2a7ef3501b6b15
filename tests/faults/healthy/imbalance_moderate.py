"""Three classes of 60, 25 and 15 %; reports macro-F1."""
import argparse
import sys
from pathlib import Path

import torch
from sklearn.metrics import f1_score
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", default=3, type=int)
    parser.add_argument("--lr", default=5e-5, type=float)
    parser.add_argument("--seed", default=13, type=int)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=3)
    train, valid = split(*posts(900, classes=3, seed=413, shares=[60, 25, 15]))

    def collate(rows):
        e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        return {**e, "labels": torch.tensor([y for _, y in rows])}

    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        model.train()
        for batch in DataLoader(train, 16, shuffle=True, collate_fn=collate):
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
        model.eval()
        predicted, true = [], []
        with torch.no_grad():
            for batch in DataLoader(valid, 16, collate_fn=collate):
                predicted += model(**batch).logits.argmax(1).tolist()
                true += batch["labels"].tolist()
        print(f"epoch {epoch} loss {loss.item():.3f} macro-F1 {f1_score(true, predicted, average='macro'):.3f}")


if __name__ == "__main__":
    main()
