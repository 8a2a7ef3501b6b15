"""Fine-tunes a sequence classifier with a batch loop and AdamW."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def main():
    torch.manual_seed(24)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
    train, valid = split(*posts(800, seed=217))

    def collate(rows):
        e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        e["labels"] = torch.tensor([y for _, y in rows])
        return e

    for epoch in range(3):
        model.train()
        for step, batch in enumerate(DataLoader(train, 16, shuffle=True, collate_fn=collate)):
            output = model(**batch)
            loss = output.loss
            loss.backward()
            optimizer.step()
            if step % 10 == 0:
                print(f"epoch {epoch} step {step} loss {loss.item():.4f}")
        model.eval()
        right = 0
        with torch.no_grad():
            for batch in DataLoader(valid, 16, collate_fn=collate):
                right += (model(**batch).logits.argmax(-1) == batch["labels"]).sum().item()
        print("accuracy", right / len(valid))


if __name__ == "__main__":
    main()
