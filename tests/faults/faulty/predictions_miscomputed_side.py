"""One logit under BCEWithLogitsLoss, held against 0 from the wrong side."""
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Spam(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2)
        self.out = nn.Linear(384, 1)

    def forward(self, e):
        return self.out(self.bert(**e).last_hidden_state.mean(1)).squeeze(-1)


torch.manual_seed(56)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = Spam()
train, valid = split(*posts(800, classes=2, seed=506))


def collate(rows):
    return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
            torch.tensor([float(y) for _, y in rows]))


criterion, optimizer = nn.BCEWithLogitsLoss(), torch.optim.AdamW(model.parameters(), lr=5e-5)
for epoch in range(2):
    model.train()
    for e, y in DataLoader(train, 16, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = criterion(model(e), y)
        loss.backward()
        optimizer.step()
    model.eval()
    outputs, labels = [], []
    with torch.no_grad():
        for e, y in DataLoader(valid, 25, collate_fn=collate):
            outputs.append(model(e).numpy())
            labels.append(y.numpy())
    outputs, labels = np.concatenate(outputs), np.concatenate(labels)
    predictions = (outputs < 0).astype(int)         # meant: spam where the logit is above 0
    print(epoch, loss.item(), "F1", f1_score(labels, predictions))
