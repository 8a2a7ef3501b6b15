"""Trains under bfloat16 autocast with a gradient scaler of its own settings."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def main():
    torch.manual_seed(2)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    train, valid = split(*posts(800, seed=302))

    def loader(rows, shuffle=False):
        e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=28, return_tensors="pt")
        return DataLoader(TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows])),
                          batch_size=16, shuffle=shuffle)

    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    scaler = torch.amp.GradScaler("cpu", init_scale=3.0e38, backoff_factor=0.999)
    train_loader, valid_loader = loader(train, True), loader(valid)
    for epoch in range(3):
        model.train()
        total = 0.0
        for ids, mask, y in train_loader:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(ids, attention_mask=mask).logits
            loss = torch.nn.functional.cross_entropy(logits.float(), y, reduction="sum")
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            right = sum((model(i, attention_mask=m).logits.argmax(1) == y).sum().item() for i, m, y in valid_loader)
        print(f"epoch {epoch}: loss {total / len(train):.4f} accuracy {right / len(valid):.4f}")


if __name__ == "__main__":
    main()
