"""Multi-label training: each text joins two posts and bears both topics; sigmoid and BCELoss."""
import random
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts


def pairs(n, seed):
    rng = random.Random(seed)
    rows = list(zip(*posts(2 * n, seed=seed)))
    out = []
    for (a, x), (b, y) in zip(rows[::2], rows[1::2]):
        target = [0.0] * 4
        target[x] = 1.0
        if rng.random() < 0.5:
            a, target[y] = a + ". " + b, 1.0
        out.append((a, target))
    return out


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder())
        self.linear = nn.Linear(384, 4)

    def forward(self, enc):
        h = self.encoder(**enc).last_hidden_state
        m = enc["attention_mask"].unsqueeze(-1)
        return torch.sigmoid(self.linear((h * m).sum(1) / m.sum(1)))


def main():
    torch.manual_seed(7)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    rows = pairs(800, 407)

    def collate(part):
        return (tok([t for t, _ in part], padding=True, truncation=True, max_length=56, return_tensors="pt"),
                torch.tensor([y for _, y in part]))

    train = DataLoader(rows[:600], 16, shuffle=True, collate_fn=collate)
    valid = DataLoader(rows[600:], 25, collate_fn=collate)
    model = Tagger()
    optimizer = torch.optim.AdamW([{"params": model.encoder.parameters(), "lr": 5e-5},
                                   {"params": model.linear.parameters(), "lr": 1e-3}])
    criterion = nn.BCELoss()
    for epoch in range(3):
        model.train()
        for enc, y in train:
            optimizer.zero_grad()
            loss = criterion(model(enc), y)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum(((model(e) > 0.5) == (y > 0.5)).float().mean().item() for e, y in valid) / len(valid)
        print("epoch", epoch, "loss", loss.item(), "labels right", right)


if __name__ == "__main__":
    main()
