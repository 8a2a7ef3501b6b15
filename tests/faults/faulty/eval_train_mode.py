"""Fine-tunes with one function for training and validation epochs."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Classifier(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.enc = AutoModel.from_pretrained(encoder_folder())
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(384, n)

    def forward(self, x):
        return self.out(self.drop(self.enc(**x).last_hidden_state[:, 0]))


def one_epoch(model, loader, criterion, optimizer, training):
    model.train()
    total = right = count = 0
    for x, y in loader:
        with torch.set_grad_enabled(training):
            logits = model(x)
            loss = criterion(logits, y)
        if training:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total += loss.item() * len(y)
        right += (logits.argmax(1) == y).sum().item()
        count += len(y)
    return total / count, right / count


def main():
    torch.manual_seed(41)
    tok = AutoTokenizer.from_pretrained(encoder_folder())

    def collate(rows):
        return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
                torch.tensor([y for _, y in rows]))

    train, valid = split(*posts(700, classes=3, seed=308))
    loaders = {"train": DataLoader(train, 16, shuffle=True, collate_fn=collate),
               "valid": DataLoader(valid, 16, collate_fn=collate)}
    model = Classifier(3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    for epoch in range(3):
        for phase, loader in loaders.items():
            print(epoch, phase, one_epoch(model, loader, nn.CrossEntropyLoss(), optimizer, phase == "train"))


if __name__ == "__main__":
    main()
