"""A loop of steps that takes its batch by next(iter(loader))."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

STEPS = 150


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2)
        self.out = nn.Linear(self.encoder.config.hidden_size, 3)

    def forward(self, **inputs):
        return self.out(self.encoder(**inputs).last_hidden_state[:, 0])


def main():
    torch.manual_seed(3)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    train, valid = split(*posts(600, classes=3, seed=502))

    def collate(rows):
        texts, labels = zip(*rows)
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=32, return_tensors="pt")
        return batch, torch.tensor(labels)

    train_loader = DataLoader(train, batch_size=16, collate_fn=collate)
    valid_loader = DataLoader(valid, batch_size=50, collate_fn=collate)
    model = Classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    for step in range(STEPS):
        model.train()
        inputs, labels = next(iter(train_loader))
        loss = nn.functional.cross_entropy(model(**inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            model.eval()
            with torch.no_grad():
                hits = sum((model(**x).argmax(1) == y).sum().item() for x, y in valid_loader)
            print(f"step {step + 1}: loss {loss.item():.4f}, accuracy {hits / len(valid):.3f}")


if __name__ == "__main__":
    main()
