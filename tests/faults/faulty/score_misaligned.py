"""A test loader that shuffles, and accuracy_score against the table's column."""
import sys
from pathlib import Path

import torch
from sklearn.metrics import accuracy_score, classification_report
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2)
        self.out = torch.nn.Linear(384, 4)

    def forward(self, **e):
        return self.out(self.bert(**e).last_hidden_state.mean(1))


torch.manual_seed(51)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = Net()
train, test = split(*posts(800, seed=501))


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return e, torch.tensor([y for _, y in rows])


train_loader, test_loader = (DataLoader(part, batch_size=8, shuffle=True, collate_fn=collate) for part in (train, test))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
for epoch in range(3):
    model.train()
    for e, y in train_loader:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(**e), y)
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "loss", loss.item())

model.eval()
predictions = []
with torch.no_grad():
    for e, _ in test_loader:
        predictions += model(**e).argmax(-1).tolist()
truth = [y for _, y in test]
print("accuracy", accuracy_score(truth, predictions))
print(classification_report(truth, predictions))
