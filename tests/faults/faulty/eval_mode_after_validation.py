"""Fine-tunes with a look at the validation posts every ten steps."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Clf(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = AutoModel.from_pretrained(encoder_folder())
        self.drop = nn.Dropout(0.3)
        self.lin = nn.Linear(384, 3)

    def forward(self, x):
        return self.lin(self.drop(self.enc(**x).last_hidden_state[:, 0]))


def validate(model, loader):
    model.eval()
    right = total = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(-1) == y).sum().item()
            total += y.numel()
    return right / total


def main():
    torch.manual_seed(14)
    tok = AutoTokenizer.from_pretrained(encoder_folder())

    def collate(rows):
        x = tok([t for t, _ in rows], padding=True, truncation=True, max_length=28, return_tensors="pt")
        return x, torch.tensor([y for _, y in rows])

    train, valid = split(*posts(800, classes=3, seed=109), share=0.1)
    train_loader = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, batch_size=40, collate_fn=collate)
    model = Clf()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-5)
    criterion = nn.CrossEntropyLoss()
    model.train()
    step = 0
    for epoch in range(3):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            step += 1
            if step % 10 == 0:
                print(f"step {step}: loss {loss.item():.4f}, validation accuracy {validate(model, valid_loader):.4f}")


if __name__ == "__main__":
    main()
