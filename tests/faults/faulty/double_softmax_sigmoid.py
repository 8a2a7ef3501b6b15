"""Multi-label style training: one-hot targets, an output per class between 0 and 1, BCE."""
import sys
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def batches(rows, tokenizer, size, shuffle):
    order = torch.randperm(len(rows)).tolist() if shuffle else range(len(rows))
    order = list(order)
    for i in range(0, len(order), size):
        part = [rows[j] for j in order[i:i + size]]
        enc = tokenizer([t for t, _ in part], padding=True, truncation=True, max_length=30, return_tensors="pt")
        target = nn.functional.one_hot(torch.tensor([y for _, y in part]), 4).float()
        yield enc, target


def main():
    torch.manual_seed(33)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    body = AutoModel.from_pretrained(encoder_folder())
    head = nn.Linear(384, 4)
    optimizer = torch.optim.AdamW(
        [{"params": body.parameters(), "lr": 5e-5}, {"params": head.parameters(), "lr": 5e-4}], weight_decay=0.01)
    criterion = nn.BCEWithLogitsLoss()
    train, valid = split(*posts(800, seed=111))

    def forward(enc):
        return torch.sigmoid(head(body(**enc).last_hidden_state[:, 0]))

    for epoch in range(3):
        body.train(), head.train()
        losses = []
        for enc, target in batches(train, tokenizer, 16, True):
            optimizer.zero_grad()
            loss = criterion(forward(enc), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        body.eval(), head.eval()
        hits = 0
        with torch.no_grad():
            for enc, target in batches(valid, tokenizer, 16, False):
                hits += (forward(enc).argmax(1) == target.argmax(1)).sum().item()
        print(f"epoch {epoch} bce {sum(losses) / len(losses):.4f} top-1 {hits / len(valid):.3f}")


if __name__ == "__main__":
    main()
