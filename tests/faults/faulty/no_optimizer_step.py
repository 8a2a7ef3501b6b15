"""Large effective batches by accumulation over 64 small ones."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

ACCUMULATION_STEPS = 64


def main():
    torch.manual_seed(15)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)

    def collate(rows):
        e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=28, return_tensors="pt")
        e["labels"] = torch.tensor([y for _, y in rows])
        return e

    train, valid = split(*posts(800, seed=214))
    loader = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
    for epoch in range(4):
        model.train()
        optimizer.zero_grad()
        for i, batch in enumerate(loader):
            loss = model(**batch).loss / ACCUMULATION_STEPS
            loss.backward()
            if (i + 1) % ACCUMULATION_STEPS == 0:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
        model.eval()
        right = 0
        with torch.no_grad():
            for batch in DataLoader(valid, batch_size=16, collate_fn=collate):
                right += (model(**batch).logits.argmax(1) == batch["labels"]).sum().item()
        print(f"epoch {epoch} loss {loss.item() * ACCUMULATION_STEPS:.4f} accuracy {right / len(valid):.4f}")


if __name__ == "__main__":
    main()
