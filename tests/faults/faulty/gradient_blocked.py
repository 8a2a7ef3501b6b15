"""An encoder with a two-layer head; the pooled vectors are taken out of the encoder before the head."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder())
        self.classifier = nn.Sequential(nn.Linear(384, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 4))

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        features = self.encoder(input_ids, attention_mask=attention_mask).last_hidden_state[:, 0, :]
        features = features.detach()
        return self.classifier(features)


def run_epoch(model, loader, loss_fn, optimizer=None):
    model.train(optimizer is not None)
    total = right = seen = 0
    with torch.set_grad_enabled(optimizer is not None):
        for enc, y in loader:
            logits = model(**enc)
            loss = loss_fn(logits, y)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            total += loss.item() * len(y)
            right += (logits.argmax(1) == y).sum().item()
            seen += len(y)
    return total / seen, right / seen


if __name__ == "__main__":
    torch.manual_seed(31)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    collate = lambda rows: (
        tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
        torch.tensor([y for _, y in rows]),
    )
    train, valid = split(*posts(800, seed=106))
    train_loader = DataLoader(train, 16, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, 16, collate_fn=collate)
    model = Model()
    opt = torch.optim.AdamW(model.parameters(), lr=5e-5)
    ce = nn.CrossEntropyLoss()
    for epoch in range(3):
        print(epoch, "train", run_epoch(model, train_loader, ce, opt), "valid", run_epoch(model, valid_loader, ce))
