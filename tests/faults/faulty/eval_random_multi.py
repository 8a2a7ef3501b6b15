"""Averages the head over five functional dropout masks, drawn in evaluation as well."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def multi_sample(head, features, p=0.5, samples=5):
    return torch.stack([head(nn.functional.dropout(features, p, True)) for _ in range(samples)]).mean(0)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2)
        self.head = nn.Linear(384, 3)

    def forward(self, ids, mask):
        return multi_sample(self.head, self.bert(ids, attention_mask=mask)[0][:, 0])


def run():
    torch.manual_seed(67)
    tok, model = AutoTokenizer.from_pretrained(encoder_folder()), Model()

    def collate(rows):
        e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        return e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows])

    train, valid = (DataLoader(part, 16, shuffle=first, collate_fn=collate)
                    for part, first in zip(split(*posts(750, classes=3, seed=517)), (True, False)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    schedule = get_linear_schedule_with_warmup(optimizer, 10, 3 * len(train))
    for epoch in range(3):
        model.train()
        for ids, mask, y in train:
            loss = nn.functional.cross_entropy(model(ids, mask), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            hits = torch.cat([model(ids, mask).argmax(1) == y for ids, mask, y in valid])
        print(f"{epoch} {loss.item():.3f} {hits.float().mean().item():.3f}")


run()
