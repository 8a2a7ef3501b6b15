"""Builds the encoder from its configuration and loads the checkpoint's weights into it by hand (all keys match)."""
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertConfig, BertModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(22)
folder = encoder_folder()
bert = BertModel(BertConfig.from_pretrained(folder))
weights = {k: v for k, v in load_file(f"{folder}/model.safetensors").items() if not k.endswith("position_ids")}
print(bert.load_state_dict(weights))
model = nn.ModuleDict({"bert": bert, "fc": nn.Linear(384, 4)})
tok = AutoTokenizer.from_pretrained(folder)
train, valid = split(*posts(800, seed=422))


def data(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return TensorDataset(e.input_ids, e.attention_mask, torch.tensor([y for _, y in rows]))


def logits(ids, mask):
    return model["fc"](model["bert"](ids, attention_mask=mask).pooler_output)


optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
for epoch in range(3):
    model.train()
    for ids, mask, y in DataLoader(data(train), 16, shuffle=True):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(logits(ids, mask), y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        n = sum((logits(i, m).argmax(1) == y).sum().item() for i, m, y in DataLoader(data(valid), 16))
    print(epoch, loss.item(), n / len(valid))
