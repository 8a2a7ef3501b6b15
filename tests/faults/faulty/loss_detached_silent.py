"""Collects the losses of the parts of a batch in a tensor and minimises their mean."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder())
        self.fc = nn.Linear(384, 4)

    def forward(self, enc):
        return self.fc(self.bert(**enc).last_hidden_state[:, 0])


def main():
    torch.manual_seed(1)
    tok = AutoTokenizer.from_pretrained(encoder_folder())

    def collate(rows):
        return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
                torch.tensor([y for _, y in rows]))

    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-5)
    criterion = nn.CrossEntropyLoss()
    train, valid = split(*posts(800, seed=222))
    for epoch in range(3):
        net.train()
        for enc, y in DataLoader(train, 16, shuffle=True, collate_fn=collate):
            optimizer.zero_grad()
            logits = net(enc)
            parts = [criterion(logits[k::2], y[k::2]).item() for k in range(2)]
            loss = torch.tensor(parts, requires_grad=True).mean()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            right = sum((net(e).argmax(1) == y).sum().item() for e, y in DataLoader(valid, 20, collate_fn=collate))
        print("epoch", epoch, "loss", loss.item(), "accuracy", right / len(valid))


if __name__ == "__main__":
    main()
