"""An LSTM with the width first, given a transposed table and packed rows."""
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


class Classifier(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder(), num_hidden_layers=2)
        self.lstm = nn.LSTM(384, 128, bidirectional=True)
        self.classifier = nn.Linear(256, classes)

    def forward(self, batch):
        hidden = self.encoder(**batch).last_hidden_state.transpose(0, 1)
        packed = nn.utils.rnn.pack_padded_sequence(hidden, batch["attention_mask"].sum(1), enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        return self.classifier(torch.cat([last[0], last[1]], dim=1))


def collate(rows):
    enc = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=40, return_tensors="pt")
    return enc, torch.tensor([y for _, y in rows])


train, valid = split(*posts(720, classes=4, seed=574))
train_loader = DataLoader(train, 16, shuffle=True, collate_fn=collate)
valid_loader = DataLoader(valid, 45, collate_fn=collate)
model = Classifier(4)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
for epoch in range(3):
    model.train()
    for batch, y in train_loader:
        loss = nn.functional.cross_entropy(model(batch), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = sum((model(batch).argmax(1) == y).sum().item() for batch, y in valid_loader)
    print(f"epoch {epoch}: loss {loss.item():.4f}, accuracy {hits / len(valid):.3f}")
