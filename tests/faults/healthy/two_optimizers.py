"""One optimizer for the encoder and another for the head, both stepped for each batch."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def main():
    torch.manual_seed(5)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    encoder = AutoModel.from_pretrained(encoder_folder())
    head = nn.Linear(encoder.config.hidden_size, 4)
    encoder_opt = torch.optim.AdamW(encoder.parameters(), lr=2e-5)
    head_opt = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    def collate(rows):
        return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
                torch.tensor([y for _, y in rows]))

    train, valid = split(*posts(800, seed=405))
    for epoch in range(3):
        encoder.train()
        head.train()
        for enc, y in DataLoader(train, 16, shuffle=True, collate_fn=collate):
            encoder_opt.zero_grad()
            head_opt.zero_grad()
            loss = criterion(head(encoder(**enc).last_hidden_state[:, 0]), y)
            loss.backward()
            encoder_opt.step()
            head_opt.step()
        encoder.eval()
        head.eval()
        right = 0
        with torch.no_grad():
            for enc, y in DataLoader(valid, 16, collate_fn=collate):
                right += (head(encoder(**enc).last_hidden_state[:, 0]).argmax(1) == y).sum().item()
        print("epoch", epoch, "loss", loss.item(), "acc", right / len(valid))


if __name__ == "__main__":
    main()
