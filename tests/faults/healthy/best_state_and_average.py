"""Evaluates an exponential average beside the model, then the best state of the run, then the untrained one beside it."""
import copy
import sys
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(64)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
untrained, averaged = copy.deepcopy(model), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
train, valid = split(*posts(800, seed=514))


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return e, torch.tensor([y for _, y in rows])


valid_loader = DataLoader(valid, 25, collate_fn=collate)


@torch.no_grad()
def accuracy(net):
    net.eval()
    return sum((net(**e).logits.argmax(1) == y).sum().item() for e, y in valid_loader) / len(valid)


optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
best, best_state = -1.0, None
for epoch in range(3):
    model.train()
    for e, y in DataLoader(train, 16, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(**e).logits, y)
        loss.backward()
        optimizer.step()
        averaged.update_parameters(model)
    score = accuracy(averaged)
    print(epoch, loss.item(), score)
    if score > best:
        best, best_state = score, copy.deepcopy(averaged.module.state_dict())
model.load_state_dict(best_state)
print("best", accuracy(model), "before training", accuracy(untrained))
