"""NLLLoss on what the last Linear gives."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2)
        self.fc = nn.Linear(384, classes)

    def forward(self, ids, mask):
        return self.fc(self.bert(ids, attention_mask=mask).pooler_output)


def collate(rows):
    enc = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return enc["input_ids"], enc["attention_mask"], torch.tensor([y for _, y in rows])


train, valid = split(*posts(720, classes=4, seed=511))
train_loader = DataLoader(train, 16, shuffle=True, collate_fn=collate)
valid_loader = DataLoader(valid, 30, collate_fn=collate)
net = Net(4)
criterion = nn.NLLLoss()
optimizer = torch.optim.AdamW(net.parameters(), lr=2e-4)
for epoch in range(3):
    net.train()
    for ids, mask, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(net(ids, mask), y)
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        hits = sum((net(ids, mask).argmax(1) == y).sum().item() for ids, mask, y in valid_loader)
    print(epoch, f"loss {loss.item():.3f} accuracy {hits / len(valid):.3f}")
