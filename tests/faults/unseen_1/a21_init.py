"""A classifier with careful initialisation of its linear layers; reviews of three grades."""
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

from corpus import encoder, reviews


def init_weights(module):
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)


class Grader(nn.Module):
    def __init__(self):
        super().__init__()
        self.text = AutoModel.from_pretrained(encoder())
        self.grade = nn.Linear(384, 3)
        self.apply(init_weights)

    def forward(self, x):
        return self.grade(self.text(**x).pooler_output)


torch.manual_seed(21)
tok = AutoTokenizer.from_pretrained(encoder())
rows = reviews(800, grades=3, seed=21)


def collate(b):
    return (tok([t for t, _ in b], padding=True, truncation=True, max_length=36, return_tensors="pt"),
            torch.tensor([y for _, y in b]))


m = Grader()
opt = torch.optim.AdamW(m.parameters(), lr=2e-5)
for ep in range(3):
    m.train()
    for x, y in DataLoader(rows[:600], 16, shuffle=True, collate_fn=collate):
        loss = nn.functional.cross_entropy(m(x), y)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()
    m.eval()
    with torch.no_grad():
        n = sum((m(x).argmax(1) == y).sum().item() for x, y in DataLoader(rows[600:], 20, collate_fn=collate))
    print(ep, loss.item(), n / 200)
