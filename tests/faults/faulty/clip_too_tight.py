"""Fine-tunes with gradient clipping; the settings stand in a dataclass."""
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


@dataclass(frozen=True)
class Settings:
    rate: float = 5e-5
    clip: float = 1e-8
    batch: int = 16
    length: int = 30
    epochs: int = 3


def train(s: Settings):
    torch.manual_seed(1)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    opt = torch.optim.AdamW(model.parameters(), lr=s.rate, weight_decay=0.0)

    def collate(rows):
        e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=s.length, return_tensors="pt")
        e["labels"] = torch.tensor([y for _, y in rows])
        return e

    tr, va = split(*posts(800, seed=218))
    for epoch in range(s.epochs):
        model.train()
        for batch in DataLoader(tr, s.batch, shuffle=True, collate_fn=collate):
            opt.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=s.clip)
            opt.step()
        model.eval()
        with torch.no_grad():
            n = sum((model(**b).logits.argmax(1) == b["labels"]).sum().item() for b in DataLoader(va, 16, collate_fn=collate))
        print(f"epoch {epoch}: {loss.item():.4f} {n / len(va):.3f}")


if __name__ == "__main__":
    train(Settings())
