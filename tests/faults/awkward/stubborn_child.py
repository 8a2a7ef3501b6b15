"""Starts a helper process that ignores SIGTERM and outlives the training unless somebody ends it."""
import subprocess
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

HELPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(900)"
helper = subprocess.Popen([sys.executable, "-c", HELPER])
print("helper", helper.pid)

torch.manual_seed(1)
tok = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
train, valid = split(*posts(800, seed=508))


def collate(rows):
    e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**e, "labels": torch.tensor([y for _, y in rows])}


loader = DataLoader(train, 16, shuffle=True, collate_fn=collate)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
for epoch in range(3):
    model.train()
    for batch in loader:
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
    print("epoch", epoch, loss.item())
helper.kill()
