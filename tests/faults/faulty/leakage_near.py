"""Trains on posts with a larger training set made by light edits, then splits off a test part."""
import random
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts


def augment(texts, labels, copies, seed):
    """Each text `copies` times more, with one small edit each."""
    rng = random.Random(seed)
    out = list(zip(texts, labels))
    for text, label in zip(texts, labels):
        for _ in range(copies):
            out.append((text + rng.choice([" !", " ...", " :)", " ok", " hm", " yes"]), label))
    return out


def main():
    torch.manual_seed(4)
    rows = augment(*posts(400, seed=72), copies=1, seed=3)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    enc = tok([t for t, _ in rows], padding="max_length", max_length=30, truncation=True, return_tensors="pt")
    full = TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor([y for _, y in rows]))
    train_set, valid_set = random_split(full, [600, len(full) - 600])
    assert isinstance(train_set, Subset)
    model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
    for epoch in range(3):
        model.train()
        for ids, mask, labels in DataLoader(train_set, batch_size=16, shuffle=True):
            optimizer.zero_grad()
            out = model(ids, attention_mask=mask, labels=labels)
            out.loss.backward()
            optimizer.step()
        model.eval()
        good = 0
        with torch.no_grad():
            for ids, mask, labels in DataLoader(valid_set, batch_size=32):
                good += (model(ids, attention_mask=mask).logits.argmax(-1) == labels).sum().item()
        print(epoch, out.loss.item(), good / len(valid_set))


if __name__ == "__main__":
    main()
