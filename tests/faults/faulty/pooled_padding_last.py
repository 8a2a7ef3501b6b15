"""The last position is read, as one does with language models, of rows padded on the right."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def encode(tokenizer, rows):
    inputs = tokenizer([t for t, _ in rows], padding="max_length", truncation=True, max_length=48, return_tensors="pt")
    return inputs["input_ids"], inputs["attention_mask"], torch.tensor([y for _, y in rows])


def logits_of(encoder, head, ids, mask):
    states = encoder(input_ids=ids, attention_mask=mask)[0]
    return head(states[:, -1, :])


def main():
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    encoder = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2)
    head = nn.Sequential(nn.Dropout(0.1), nn.Linear(384, 4))
    train, valid = split(*posts(640, classes=4, seed=563))
    train_loader = DataLoader(train, 16, shuffle=True, collate_fn=lambda rows: encode(tokenizer, rows))
    valid_loader = DataLoader(valid, 40, collate_fn=lambda rows: encode(tokenizer, rows))
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-5)
    for epoch in range(3):
        encoder.train(), head.train()
        for ids, mask, y in train_loader:
            loss = nn.functional.cross_entropy(logits_of(encoder, head, ids, mask), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        encoder.eval(), head.eval()
        with torch.no_grad():
            hits = sum((logits_of(encoder, head, i, m).argmax(1) == y).sum().item() for i, m, y in valid_loader)
        print(epoch, loss.item(), hits / len(valid))


if __name__ == "__main__":
    main()
