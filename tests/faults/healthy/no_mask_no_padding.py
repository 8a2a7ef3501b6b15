"""Batches of posts of equal length, so that nothing is padded and no mask is needed."""
import random
import sys
from collections import defaultdict
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(12)
rng = random.Random(12)
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(1100, seed=412))


def equal_length_batches(rows, size=16):
    by_length = defaultdict(list)
    for text, label in rows:
        ids = tok.encode(text)
        by_length[len(ids)].append((ids, label))
    batches = []
    for bucket in by_length.values():
        rng.shuffle(bucket)
        batches += [bucket[i:i + size] for i in range(0, len(bucket), size)]
    rng.shuffle(batches)
    for batch in batches:
        yield torch.tensor([ids for ids, _ in batch]), torch.tensor([y for _, y in batch])


encoder = AutoModel.from_pretrained(encoder_folder())
linear = nn.Linear(384, 4)
optimizer = torch.optim.AdamW(list(encoder.parameters()) + list(linear.parameters()), lr=5e-5)
for epoch in range(3):
    encoder.train()
    for ids, y in equal_length_batches(train):
        loss = nn.functional.cross_entropy(linear(encoder(ids).last_hidden_state.mean(1)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    encoder.eval()
    with torch.no_grad():
        n = sum((linear(encoder(ids).last_hidden_state.mean(1)).argmax(1) == y).sum().item()
                for ids, y in equal_length_batches(valid))
    print("epoch", epoch, "loss", loss.item(), "accuracy", n / len(valid))
