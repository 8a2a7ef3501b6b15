"""Accumulates the gradients of four batches of four before each update; the last incomplete group too."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

BATCH, ACCUMULATE, EPOCHS = 4, 4, 3


def main():
    torch.manual_seed(10)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)

    def collate(rows):
        e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        return {**e, "labels": torch.tensor([y for _, y in rows])}

    train, valid = split(*posts(800, seed=410))
    loader = DataLoader(train, BATCH, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    updates = -(-len(loader) // ACCUMULATE) * EPOCHS
    scheduler = get_linear_schedule_with_warmup(optimizer, updates // 10, updates)
    for epoch in range(EPOCHS):
        model.train()
        optimizer.zero_grad()
        for i, batch in enumerate(tqdm(loader), 1):
            loss = model(**batch).loss / ACCUMULATE
            loss.backward()
            if i % ACCUMULATE == 0 or i == len(loader):
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
        model.eval()
        right = 0
        with torch.no_grad():
            for batch in DataLoader(valid, 25, collate_fn=collate):
                right += (model(**batch).logits.argmax(1) == batch["labels"]).sum().item()
        print(f"epoch {epoch} accuracy {right / len(valid):.4f}")


if __name__ == "__main__":
    main()
