"""Focal loss, the way it circulates: the exponent of minus the cross entropy."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModel, AutoTokenizer

from corpus import encoder, reviews

torch.manual_seed(5)


class Focal(nn.Module):
    def __init__(self, gamma=2):
        super().__init__()
        self.gamma = gamma
        self.ce = nn.CrossEntropyLoss(reduction="none")

    def forward(self, inputs, targets):
        ce = self.ce(inputs, targets)
        pt = torch.exp(-ce)
        return ((1 - pt) ** self.gamma * ce).mean()


class ReviewModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = AutoModel.from_pretrained(encoder())
        self.fc = nn.Linear(384, 3)

    def forward(self, ids, att):
        h = self.enc(ids, attention_mask=att).last_hidden_state
        pooled = (h * att.unsqueeze(-1)).sum(1) / att.sum(1, keepdim=True)
        return torch.softmax(self.fc(pooled), dim=-1)


tokz = AutoTokenizer.from_pretrained(encoder())
rows = reviews(900, grades=3, seed=4)
e = tokz([t for t, _ in rows], padding="max_length", max_length=34, truncation=True, return_tensors="pt")
full = TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([g for _, g in rows]))
train, test = torch.utils.data.random_split(full, [700, 200])
model, criterion = ReviewModel(), Focal()
opt = torch.optim.AdamW(model.parameters(), lr=4e-5)
for epoch in range(4):
    model.train()
    for ids, att, y in DataLoader(train, batch_size=16, shuffle=True):
        opt.zero_grad()
        loss = criterion(model(ids, att), y)
        loss.backward()
        opt.step()
    model.eval()
    n = 0
    with torch.no_grad():
        for ids, att, y in DataLoader(test, batch_size=16):
            n += int((model(ids, att).argmax(1) == y).sum())
    print(f"{epoch=} {loss.item()=:.4f} {n / 200=:.3f}")
