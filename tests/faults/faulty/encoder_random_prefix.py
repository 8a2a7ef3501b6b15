"""Loads an encoder's checkpoint into a classifier class of its own by load_state_dict and trains it."""
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoConfig, AutoTokenizer, BertModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Net(nn.Module):
    def __init__(self, config, n):
        super().__init__()
        self.text_encoder = BertModel(config)
        self.fc = nn.Linear(config.hidden_size, n)

    def forward(self, ids, mask):
        return self.fc(self.text_encoder(ids, attention_mask=mask).last_hidden_state[:, 0])


folder = encoder_folder()
torch.manual_seed(4)
net = Net(AutoConfig.from_pretrained(folder), 4)
net.load_state_dict(load_file(folder + "/model.safetensors"), strict=False)

tok = AutoTokenizer.from_pretrained(folder)
train, valid = split(*posts(800, seed=102))


def data(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return TensorDataset(e.input_ids, e.attention_mask, torch.tensor([y for _, y in rows]))


opt = torch.optim.AdamW(net.parameters(), lr=2e-5)
for epoch in range(3):
    net.train()
    for ids, mask, y in DataLoader(data(train), 16, shuffle=True):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(ids, mask), y)
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        acc = sum((net(i, m).argmax(1) == y).sum().item() for i, m, y in DataLoader(data(valid), 16)) / len(valid)
    print(f"{epoch} {loss.item():.3f} {acc:.3f}")
