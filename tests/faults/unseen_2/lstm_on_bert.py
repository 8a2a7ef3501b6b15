"""BERT + BiLSTM + MLP, class prior in the output bias (see 'a recipe for training neural networks': init well)."""
import sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
from collections import Counter
import math

import torch
import torch.nn as nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer
from posts import encoder_folder, posts, split

torch.manual_seed(99)
N_CLASSES, HIDDEN, EPOCHS = 4, 128, 6
tok = AutoTokenizer.from_pretrained(encoder_folder())


def mlp(*sizes, p=0.1):
    layers = []
    for n_in, n_out in zip(sizes, sizes[1:]):
        layers += [nn.Dropout(p), nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers)


class BertLSTM(nn.Module):
    def __init__(self, prior):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder(), add_pooling_layer=False)
        self.lstm = nn.LSTM(384, HIDDEN, batch_first=True, bidirectional=True)
        self.mlp = mlp(2 * HIDDEN, 64, N_CLASSES)
        last = [m for m in self.mlp if isinstance(m, nn.Linear)][-1]
        with torch.no_grad():
            last.bias.copy_(torch.tensor([math.log(p) for p in prior]))

    def forward(self, input_ids, attention_mask):
        h = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
        packed = pack_padded_sequence(h, attention_mask.sum(1), batch_first=True, enforce_sorted=False)
        _, (hn, _) = self.lstm(packed)
        return self.mlp(torch.cat([hn[0], hn[1]], dim=-1))


def collate(batch):
    texts, ys = zip(*batch)
    e = tok(list(texts), padding=True, truncation=True, max_length=64, return_tensors="pt")
    return e["input_ids"], e["attention_mask"], torch.tensor(ys)


train, valid = split(*posts(800, classes=N_CLASSES, seed=8))
counts = Counter(y for _, y in train)
prior = [counts[c] / len(train) for c in range(N_CLASSES)]
train_dl = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
valid_dl = DataLoader(valid, batch_size=64, collate_fn=collate)

net = BertLSTM(prior)
optimizer = torch.optim.AdamW([
    {"params": net.bert.parameters(), "lr": 5e-5},
    {"params": [*net.lstm.parameters(), *net.mlp.parameters()], "lr": 1e-3},
])
for epoch in range(EPOCHS):
    net.train()
    total = 0.0
    for ids, mask, y in train_dl:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(ids, mask), y)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        total += loss.item()
    net.eval()
    with torch.no_grad():
        acc = sum((net(i, m).argmax(1) == y).sum().item() for i, m, y in valid_dl) / len(valid)
    print(f"epoch {epoch + 1}: loss {total / len(train_dl):.4f} acc {acc:.3f}", flush=True)
