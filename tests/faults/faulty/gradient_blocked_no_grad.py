"""An encoder used as a feature extractor in forward, trained together with a small head; Lightning-like class."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Module(nn.Module):
    def __init__(self, lr=2e-5):
        super().__init__()
        self.lr = lr
        self.tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
        self.encoder = AutoModel.from_pretrained(encoder_folder())
        self.classifier = nn.Linear(384, 4)
        self.criterion = nn.CrossEntropyLoss()

    def encode(self, texts):
        with torch.no_grad():
            enc = self.tokenizer(texts, padding=True, truncation=True, max_length=32, return_tensors="pt")
            return self.encoder(**enc).last_hidden_state[:, 0]

    def forward(self, texts):
        return self.classifier(self.encode(texts))

    def training_step(self, batch):
        texts, y = batch
        return self.criterion(self(list(texts)), y)

    def validation_step(self, batch):
        texts, y = batch
        return (self(list(texts)).argmax(1) == y).float().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def fit(module, train_loader, valid_loader, epochs):
    optimizer = module.configure_optimizers()
    for epoch in range(epochs):
        module.train()
        for batch in train_loader:
            optimizer.zero_grad()
            loss = module.training_step(batch)
            loss.backward()
            optimizer.step()
        module.eval()
        with torch.no_grad():
            acc = [module.validation_step(batch).item() for batch in valid_loader]
        print(f"epoch {epoch} train_loss={loss.item():.3f} val_acc={sum(acc) / len(acc):.3f}")


if __name__ == "__main__":
    torch.manual_seed(8)
    train, valid = split(*posts(800, seed=310))
    fit(Module(), DataLoader(train, batch_size=16, shuffle=True), DataLoader(valid, batch_size=16), epochs=3)
