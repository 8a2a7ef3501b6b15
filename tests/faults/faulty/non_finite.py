"""Averages the vectors of each post's content words only and classifies the average."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class ContentAverage(nn.Module):
    """Averages over tokens that are longer than `shortest` letters (ids in `content`)."""

    def __init__(self, tokenizer, shortest=8):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder())
        self.head = nn.Linear(384, 4)
        content = torch.zeros(len(tokenizer))
        for token, i in tokenizer.get_vocab().items():
            content[i] = float(len(token) >= shortest)
        self.register_buffer("content", content)

    def forward(self, enc):
        hidden = self.encoder(**enc).last_hidden_state
        weight = self.content[enc["input_ids"]].unsqueeze(-1)
        return self.head((hidden * weight).sum(1) / weight.sum(1))


def main():
    torch.manual_seed(5)
    tok = AutoTokenizer.from_pretrained(encoder_folder())

    def collate(rows):
        return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
                torch.tensor([y for _, y in rows]))

    train, valid = split(*posts(800, seed=306))
    model = ContentAverage(tok)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    for epoch in range(2):
        model.train()
        for i, (enc, y) in enumerate(DataLoader(train, 16, shuffle=True, collate_fn=collate)):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(enc), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if i % 5 == 0:
                print(epoch, i, loss.item())
        model.eval()
        with torch.no_grad():
            right = sum((model(e).argmax(1) == y).sum().item() for e, y in DataLoader(valid, 16, collate_fn=collate))
        print("accuracy", right / len(valid))


if __name__ == "__main__":
    main()
