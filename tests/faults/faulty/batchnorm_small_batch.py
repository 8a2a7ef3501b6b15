"""Memory-saving training: two posts at a time, eight times before each update; normalised head."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

BATCH, ACCUMULATE = 2, 8


class NormHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder())
        self.head = nn.Sequential(nn.Linear(384, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, batch):
        return self.head(self.encoder(**batch).pooler_output)


def main():
    torch.manual_seed(6)
    tok = AutoTokenizer.from_pretrained(encoder_folder())

    def collate(rows):
        return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=28, return_tensors="pt"),
                torch.tensor([y for _, y in rows]))

    train, valid = split(*posts(800, seed=116))
    train_loader = DataLoader(train, batch_size=BATCH, shuffle=True, collate_fn=collate, drop_last=True)
    valid_loader = DataLoader(valid, batch_size=20, collate_fn=collate)
    model = NormHead()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for epoch in range(3):
        model.train()
        running = 0.0
        for i, (batch, y) in enumerate(train_loader, 1):
            loss = nn.functional.cross_entropy(model(batch), y) / ACCUMULATE
            loss.backward()
            running += loss.item()
            if i % ACCUMULATE == 0:
                optimizer.step()
                optimizer.zero_grad()
                if i % 80 == 0:
                    print(f"epoch {epoch} update {i // ACCUMULATE} loss {running / 10:.4f}")
                    running = 0.0
        model.eval()
        with torch.no_grad():
            right = sum((model(b).argmax(1) == y).sum().item() for b, y in valid_loader)
        print("accuracy", right / len(valid))


if __name__ == "__main__":
    main()
