"""Cross entropy written out with one-hot targets and a temperature; tickets."""
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

from corpus import QUEUES, encoder, tickets

torch.manual_seed(18)
TEMPERATURE = 1e-3
names = list(QUEUES)
tok = AutoTokenizer.from_pretrained(encoder())
enc_model = AutoModel.from_pretrained(encoder())
proj = nn.Linear(384, 5)
rows = tickets(800, seed=18)


def ce(logits, target):
    p = torch.softmax(logits / TEMPERATURE, dim=1)
    onehot = nn.functional.one_hot(target, 5).float()
    return -(onehot * torch.log(p)).sum(1).mean()


def collate(b):
    return (tok([t for t, _ in b], padding=True, truncation=True, max_length=40, return_tensors="pt"),
            torch.tensor([names.index(q) for _, q in b]))


opt = torch.optim.AdamW([*enc_model.parameters(), *proj.parameters()], lr=3e-5)
for epoch in range(3):
    enc_model.train()
    for e, y in DataLoader(rows[:600], 16, shuffle=True, collate_fn=collate):
        opt.zero_grad()
        loss = ce(proj(enc_model(**e).last_hidden_state[:, 0]), y)
        loss.backward()
        opt.step()
    enc_model.eval()
    with torch.no_grad():
        n = sum((proj(enc_model(**e).last_hidden_state[:, 0]).argmax(1) == y).sum().item()
                for e, y in DataLoader(rows[600:], 20, collate_fn=collate))
    print(epoch, loss.item(), n / 200)
