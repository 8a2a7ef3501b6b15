"""Trains a classifier on long posts (about sixty words) with a short maximum length."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification, get_linear_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, long_posts, split

MAX_LENGTH = 24
EPOCHS = 3


def tensors(tokenizer, rows):
    enc = tokenizer([t for t, _ in rows], padding="max_length", truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
    return TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor([y for _, y in rows]))


def main():
    torch.manual_seed(6)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    train, valid = split(*long_posts(900, seed=61))
    train_loader = DataLoader(tensors(tokenizer, train), batch_size=16, shuffle=True)
    valid_loader = DataLoader(tensors(tokenizer, valid), batch_size=32)
    model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    total = EPOCHS * len(train_loader)
    scheduler = get_linear_schedule_with_warmup(optimizer, total // 10, total)

    for epoch in range(EPOCHS):
        model.train()
        for ids, mask, y in train_loader:
            model.zero_grad()
            loss = model(ids, attention_mask=mask, labels=y)[0]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for ids, mask, y in valid_loader:
                right += (model(ids, attention_mask=mask)[0].argmax(1) == y).sum().item()
        print("epoch", epoch + 1, "accuracy", right / len(valid))


if __name__ == "__main__":
    main()
