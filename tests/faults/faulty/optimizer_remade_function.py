"""train_one_epoch() configures optimizer and schedule at its top."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

class Trainer:
    def __init__(self, model, train_loader, valid_loader):
        self.model, self.train_loader, self.valid_loader = model, train_loader, valid_loader

    def configure_optimizers(self):
        return torch.optim.SGD(self.model.parameters(), lr=0.02, momentum=0.9)

    def train_one_epoch(self):
        optimizer = self.configure_optimizers()
        self.model.train()
        for batch in self.train_loader:
            optimizer.zero_grad()
            loss = self.model(**batch).loss
            loss.backward()
            optimizer.step()
        return loss.item()

    def fit(self, epochs):
        for epoch in range(epochs):
            loss = self.train_one_epoch()
            self.model.eval()
            with torch.no_grad():
                hit = [self.model(**b).logits.argmax(-1) == b["labels"] for b in self.valid_loader]
            print(f"epoch {epoch}: loss {loss:.4f}, accuracy {torch.cat(hit).float().mean():.3f}")


def main():
    torch.manual_seed(6)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())

    def collate(rows):
        batch = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        return {**batch, "labels": torch.tensor([y for _, y in rows])}

    train, valid = split(*posts(640, classes=4, seed=533))
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
    train_loader = DataLoader(train, 16, shuffle=True, collate_fn=collate)
    Trainer(model, train_loader, DataLoader(valid, 40, collate_fn=collate)).fit(5)


if __name__ == "__main__":
    main()
