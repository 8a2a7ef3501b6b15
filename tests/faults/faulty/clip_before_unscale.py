"""Mixed precision with a gradient scaler, clipping and a linear schedule."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

EPOCHS, BATCH_SIZE, MAX_LEN, LR = 3, 16, 28, 5e-5


def main():
    torch.manual_seed(3)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4).to(device)

    def collate(rows):
        e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=MAX_LEN, return_tensors="pt")
        return {**e, "labels": torch.tensor([y for _, y in rows])}

    train, valid = split(*posts(800, seed=303))
    train_loader = DataLoader(train, BATCH_SIZE, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, BATCH_SIZE, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    scheduler = get_linear_schedule_with_warmup(optimizer, 10, EPOCHS * len(train_loader))
    scaler = torch.amp.GradScaler(device.type)
    for epoch in range(EPOCHS):
        model.train()
        for batch in train_loader:
            batch = {k: v.to(device) for k, v in batch.items()}
            optimizer.zero_grad()
            with torch.autocast(device.type, dtype=torch.bfloat16):
                loss = model(**batch).loss
            scaler.scale(loss).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for batch in valid_loader:
                batch = {k: v.to(device) for k, v in batch.items()}
                right += (model(**batch).logits.argmax(1) == batch["labels"]).sum().item()
        print(f"Epoch {epoch + 1}: loss {loss.item():.4f}, accuracy {right / len(valid):.4f}")


if __name__ == "__main__":
    main()
