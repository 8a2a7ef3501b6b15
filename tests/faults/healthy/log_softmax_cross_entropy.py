"""Log-probabilities given to CrossEntropyLoss; layerwise learning rates."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder(), add_pooling_layer=False)
        self.out = nn.Linear(384, 4)

    def forward(self, enc):
        return torch.log_softmax(self.out(self.bert(**enc).last_hidden_state[:, 0]), dim=-1)


def groups(net, top=1e-4, decay=0.7):
    """The head at `top`, each layer below at `decay` times the rate of the one above."""
    out = [{"params": net.out.parameters(), "lr": top * 5}]
    rate = top
    for layer in reversed(net.bert.encoder.layer):
        out.append({"params": layer.parameters(), "lr": rate})
        rate *= decay
    out.append({"params": net.bert.embeddings.parameters(), "lr": rate})
    return out


torch.manual_seed(9)
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(800, seed=409))


def collate(rows):
    return (tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
            torch.tensor([y for _, y in rows]))


net = Net()
optimizer = torch.optim.AdamW(groups(net), weight_decay=0.01)
criterion = nn.CrossEntropyLoss()
for epoch in range(3):
    net.train()
    for enc, y in DataLoader(train, 16, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = criterion(net(enc), y)
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        n = sum((net(e).argmax(1) == y).sum().item() for e, y in DataLoader(valid, 16, collate_fn=collate))
    print(epoch, loss.item(), n / len(valid))
