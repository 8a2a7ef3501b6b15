"""What the scripts of two_causes/ and unknown_cause/ share: posts on four subjects in batches, and a small encoder.

Without its causes each run learns within forty steps, whatever its seed.
"""
import torch
from posts import posts, split
from tiny import tiny_encoder
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(tiny_encoder())


def collate(rows):
    batch = tokenizer([text for text, _ in rows], padding=True, return_tensors="pt")
    return batch, torch.tensor([label for _, label in rows])


def loaders(seed, rows=2000, batch_size=32):
    """(training, validation)"""
    train, valid = split(*posts(rows, seed=seed), share=0.2)
    return DataLoader(train, batch_size, shuffle=True, collate_fn=collate), DataLoader(valid, 40, collate_fn=collate)


def classifier(**changes):
    return AutoModelForSequenceClassification.from_pretrained(tiny_encoder(), num_labels=4, **changes)
