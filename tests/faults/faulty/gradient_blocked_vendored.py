"""BERT's embeddings and layers, from a project's own copy, in a classifier of one's own; every layer is recomputed in the
backward pass, with the embeddings frozen to save memory."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import posts, split
from tiny import tiny_encoder
from vendored import Bert, WordPieces


class LeanClassifier(nn.Module):
    def __init__(self, folder, classes):
        super().__init__()
        bert = Bert.load(folder)
        self.embeddings = bert.embeddings
        self.layers = bert.encoder.layer
        self.out = nn.Linear(bert.hidden_size, classes)
        self.embeddings.requires_grad_(False)

    def forward(self, ids, mask):
        hidden = (1.0 - mask[:, None, None, :].float()) * -10000.0
        x = self.embeddings(ids)
        for layer in self.layers:
            x = checkpoint(layer, x, hidden, use_reentrant=True)
        return self.out(x[:, 0])


def encode(pieces, rows, width=24):
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    for place, (text, _) in enumerate(rows):
        numbers = pieces.convert_tokens_to_ids(["[CLS]"] + pieces.tokenize(text))[:width]
        ids[place, :len(numbers)] = torch.tensor(numbers)
    return TensorDataset(ids, (ids != 0).long(), torch.tensor([label for _, label in rows]))


torch.manual_seed(3)
folder = tiny_encoder()
train_rows, valid_rows = split(*posts(900, seed=62))
train_loader = DataLoader(encode(WordPieces(folder), train_rows), batch_size=16, shuffle=True)
valid_loader = DataLoader(encode(WordPieces(folder), valid_rows), batch_size=32)
model = LeanClassifier(folder, 4)
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
for epoch in range(3):
    model.train()
    for ids, mask, y in train_loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(ids, mask), y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum((model(ids, mask).argmax(1) == y).sum().item() for ids, mask, y in valid_loader)
    print(f"epoch {epoch}: accuracy {right / len(valid_rows):.3f}")
