"""BERT with a deeper classification head, written as one Sequential."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class DeepHead(nn.Module):
    def __init__(self, hidden=384, classes=4):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder())
        self.head = nn.Sequential(
            nn.Linear(hidden, 256), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(256, classes), nn.ReLU(),
        )
        for layer in self.head:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.constant_(layer.bias, -1.0)

    def forward(self, enc):
        return self.head(self.bert(**enc).pooler_output)


def main():
    torch.manual_seed(16)
    tok = AutoTokenizer.from_pretrained(encoder_folder())

    def collate(rows):
        enc = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        return enc, torch.tensor([y for _, y in rows])

    train, valid = split(*posts(800, seed=114))
    model = DeepHead()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(3):
        model.train()
        for i, (enc, y) in enumerate(DataLoader(train, 16, shuffle=True, collate_fn=collate)):
            optimizer.zero_grad()
            loss = criterion(model(enc), y)
            loss.backward()
            optimizer.step()
            if i % 10 == 0:
                print(f"{epoch} {i} {loss.item():.4f}")
        model.eval()
        with torch.no_grad():
            right = sum((model(e).argmax(1) == y).sum().item() for e, y in DataLoader(valid, 16, collate_fn=collate))
        print("accuracy", right / len(valid))


if __name__ == "__main__":
    main()
