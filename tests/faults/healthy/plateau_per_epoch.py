"""ReduceLROnPlateau on the validation loss after each epoch; best weights kept in memory."""
import copy
import sys
from pathlib import Path

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def run(model, loader, optimizer=None):
    model.train() if optimizer else model.eval()
    total = 0.0
    with torch.set_grad_enabled(optimizer is not None):
        for batch in loader:
            loss = model(**batch).loss
            if optimizer:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            total += loss.item()
    return total / len(loader)


def main():
    torch.manual_seed(3)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)

    def collate(rows):
        e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        return {**e, "labels": torch.tensor([y for _, y in rows])}

    train, valid = split(*posts(800, seed=403))
    train_loader = DataLoader(train, 16, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, 32, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
    scheduler = ReduceLROnPlateau(optimizer, mode="min", factor=0.5, patience=0)
    best, kept = float("inf"), None
    for epoch in range(3):
        train_loss = run(model, train_loader, optimizer)
        valid_loss = run(model, valid_loader)
        scheduler.step(valid_loss)
        if valid_loss < best:
            best, kept = valid_loss, copy.deepcopy(model.state_dict())
        print(f"epoch {epoch} train {train_loss:.4f} valid {valid_loss:.4f}")
    model.load_state_dict(kept)


if __name__ == "__main__":
    main()
