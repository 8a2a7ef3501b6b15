"""A project's own BERT in a classifier; the validation inside the epoch leaves the model in eval mode."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import posts, split
from tiny import tiny_encoder
from vendored import Bert, WordPieces

FOLDER = tiny_encoder()
PIECES = WordPieces(FOLDER)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Bert.load(FOLDER)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(64, 4))

    def forward(self, ids, mask):
        outputs, _ = self.backbone(ids, mask)
        return self.head(outputs[-1].mean(1))


def collate(rows):
    numbers = [PIECES.convert_tokens_to_ids(["[CLS]"] + PIECES.tokenize(text)) for text, _ in rows]
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in numbers], batch_first=True)
    return ids, (ids != 0).long(), torch.tensor([label for _, label in rows])


def check(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(i, m).argmax(1) == y).sum().item() for i, m, y in loader) / len(loader.dataset)


torch.manual_seed(4)
train_rows, valid_rows = split(*posts(900, seed=63))
train_loader = DataLoader(train_rows, batch_size=16, shuffle=True, collate_fn=collate)
valid_loader = DataLoader(valid_rows, batch_size=64, collate_fn=collate)
model = Net()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
print("before", check(model, valid_loader))
for epoch in range(3):
    for ids, mask, y in train_loader:
        loss = nn.functional.cross_entropy(model(ids, mask), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("epoch", epoch, check(model, valid_loader))
