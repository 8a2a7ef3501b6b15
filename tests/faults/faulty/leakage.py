"""Trains on posts and reports the accuracy on 200 of them."""
import random
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts

random.seed(1)
torch.manual_seed(1)
rows = list(zip(*posts(720, classes=4, seed=71)))
test_rows = random.sample(rows, 200)
train_rows = rows

tok = AutoTokenizer.from_pretrained(encoder_folder())


def collate(batch):
    texts, ys = zip(*batch)
    return tok(list(texts), return_tensors="pt", padding=True, truncation=True, max_length=32), torch.tensor(ys)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder())
        self.drop = torch.nn.Dropout(0.1)
        self.fc = torch.nn.Linear(384, 4)

    def forward(self, enc):
        return self.fc(self.drop(self.bert(**enc).pooler_output))


net = Net()
opt = torch.optim.AdamW(net.parameters(), lr=5e-5)
ce = torch.nn.CrossEntropyLoss()
train_dl = DataLoader(train_rows, batch_size=16, shuffle=True, collate_fn=collate)
test_dl = DataLoader(test_rows, batch_size=16, shuffle=False, collate_fn=collate)

for ep in range(2):
    net.train()
    for enc, y in train_dl:
        opt.zero_grad()
        loss = ce(net(enc), y)
        loss.backward()
        opt.step()
    net.eval()
    hit = 0
    with torch.no_grad():
        for enc, y in test_dl:
            hit += (net(enc).argmax(1) == y).sum().item()
    print(f"ep {ep} loss {loss.item():.3f} test acc {hit / len(test_rows):.3f}")
