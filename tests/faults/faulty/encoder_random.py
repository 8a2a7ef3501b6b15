"""Builds BERT from its configuration file and trains a classifier on it."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class TopicModel(nn.Module):
    def __init__(self, name, classes):
        super().__init__()
        config = AutoConfig.from_pretrained(name)
        self.backbone = AutoModel.from_config(config)
        self.head = nn.Sequential(nn.Linear(config.hidden_size, 128), nn.Tanh(), nn.Dropout(0.1), nn.Linear(128, classes))

    def forward(self, **batch):
        return self.head(self.backbone(**batch).pooler_output)


def main():
    torch.manual_seed(12)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())

    def collate(rows):
        text, label = zip(*rows)
        return tokenizer(list(text), padding=True, truncation=True, max_length=32, return_tensors="pt"), torch.tensor(label)

    train, valid = split(*posts(800, seed=101))
    train_loader = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, batch_size=16, collate_fn=collate)
    model = TopicModel(encoder_folder(), 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.01)
    loss_function = nn.CrossEntropyLoss()
    for epoch in range(3):
        model.train()
        total = 0
        for batch, label in train_loader:
            optimizer.zero_grad()
            loss = loss_function(model(**batch), label)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            right = sum((model(**b).argmax(1) == y).sum().item() for b, y in valid_loader)
        print(f"epoch {epoch + 1} loss {total / len(train_loader):.4f} accuracy {right / len(valid):.4f}")


if __name__ == "__main__":
    main()
