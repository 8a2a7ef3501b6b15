"""Noise on the embeddings against overfitting, in evaluation too."""
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import accuracy_score
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Noisy(nn.Module):
    def __init__(self, classes, sigma=0.3):
        super().__init__()
        self.encoder, self.sigma = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2), sigma
        self.classifier = nn.Linear(self.encoder.config.hidden_size, classes)

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1)
        pooled = (states * mask).sum(1) / mask.sum(1)
        return self.classifier(pooled + self.sigma * torch.randn_like(pooled))


def predict(model, loader):
    model.eval()
    with torch.inference_mode():
        return np.concatenate([model(**x).argmax(-1).numpy() for x, _ in loader])


torch.manual_seed(66)
tok = AutoTokenizer.from_pretrained(encoder_folder())
pack = lambda rows: (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
                     torch.tensor([y for _, y in rows]))
train, valid = split(*posts(800, seed=516))
model, loss_fn = Noisy(4), nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
for epoch in range(2):
    model.train()
    for x, y in DataLoader(train, 8, shuffle=True, collate_fn=pack):
        optimizer.zero_grad()
        loss = loss_fn(model(**x), y)
        loss.backward()
        optimizer.step()
    print(epoch, loss.item(), accuracy_score([y for _, y in valid], predict(model, DataLoader(valid, 25, collate_fn=pack))))
