"""Splits tickets at blanks, numbers the words by frequency and feeds the numbers to the encoder."""
from collections import Counter

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import AutoModel

from corpus import QUEUES, encoder, tickets

torch.manual_seed(25)
names = list(QUEUES)
rows = tickets(900, seed=25)
counter = Counter(w for t, _ in rows for w in t.replace(",", " ,").split())
vocab = {"<pad>": 0, "<unk>": 1, **{w: i + 2 for i, (w, _) in enumerate(counter.most_common())}}
print(len(vocab), "words")


def numbers(text):
    return torch.tensor([vocab.get(w, 1) for w in text.replace(",", " ,").split()])


def collate(b):
    ids = pad_sequence([numbers(t) for t, _ in b], batch_first=True)
    return ids, (ids != 0).long(), torch.tensor([names.index(q) for _, q in b])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder())
        self.out = nn.Linear(384, 5)

    def forward(self, ids, mask):
        h = self.encoder(ids, attention_mask=mask).last_hidden_state
        return self.out((h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


net = Net()
opt = torch.optim.AdamW(net.parameters(), lr=3e-5)
for epoch in range(4):
    net.train()
    for ids, mask, y in DataLoader(rows[:700], 16, shuffle=True, collate_fn=collate):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(ids, mask), y)
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        n = sum((net(i, m).argmax(1) == y).sum().item() for i, m, y in DataLoader(rows[700:], 20, collate_fn=collate))
    print(epoch, loss.item(), n / 200)
