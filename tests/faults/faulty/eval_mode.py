"""Minimal fine-tuning loop for a sequence classifier, without any validation."""
import sys
from pathlib import Path

import torch
from torch.optim import AdamW
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts

texts, labels = posts(700, seed=108)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
features = [dict(tokenizer(t, truncation=True, max_length=32), labels=y) for t, y in zip(texts, labels)]
loader = DataLoader(features, shuffle=True, batch_size=16, collate_fn=DataCollatorWithPadding(tokenizer))

torch.manual_seed(9)
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model.to(device)
optimizer = AdamW(model.parameters(), lr=5e-5)

for epoch in range(3):
    for i, batch in enumerate(loader):
        batch = {k: v.to(device) for k, v in batch.items()}
        outputs = model(**batch)
        outputs.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if i % 10 == 0:
            print(f"{epoch}/{i} {outputs.loss.item():.4f}")
