"""The labels come out of numpy as floats, and transformers takes them for several labels per row."""
import sys
from pathlib import Path

import torch
import numpy as np
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

tok = AutoTokenizer.from_pretrained(encoder_folder())


class Posts(Dataset):
    def __init__(self, rows):
        self.enc = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32)
        self.y = np.array([y for _, y in rows], dtype=np.float32)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {"input_ids": torch.tensor(self.enc["input_ids"][i]), "labels": torch.tensor(self.y[i]),
                "attention_mask": torch.tensor(self.enc["attention_mask"][i])}


torch.manual_seed(0)
train, valid = split(*posts(720, classes=3, seed=513))
loader = DataLoader(Posts(train), batch_size=16, shuffle=True)
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=3, num_hidden_layers=2)
optim = torch.optim.AdamW(model.parameters(), lr=2e-4)
model.train()
for epoch in range(3):
    for batch in loader:
        optim.zero_grad()
        outputs = model(**batch)
        outputs.loss.backward()
        optim.step()
    print(epoch, outputs.loss.item())
