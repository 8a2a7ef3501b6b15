"""Fine-tunes BERT with a hand-written warm-up given as a factor of the rate."""
import sys
from pathlib import Path

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

EPOCHS = 3
LR = 5e-5

torch.manual_seed(1)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(800, seed=201))


def make(rows):
    e = tokenizer([t for t, _ in rows], padding="max_length", truncation=True, max_length=28, return_tensors="pt")
    return TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows]))


loader = DataLoader(make(train), batch_size=16, shuffle=True)
val_loader = DataLoader(make(valid), batch_size=16)
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
scheduler = LambdaLR(optimizer, lambda step: min(1, step // (EPOCHS * len(loader) + 1)))

for epoch in range(EPOCHS):
    model.train()
    for ids, mask, y in loader:
        optimizer.zero_grad()
        loss = model(ids, attention_mask=mask, labels=y).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
    model.eval()
    good = 0
    with torch.no_grad():
        for ids, mask, y in val_loader:
            good += (model(ids, attention_mask=mask).logits.argmax(1) == y).sum().item()
    print(f"epoch {epoch} loss {loss.item():.4f} acc {good / len(valid):.4f}")
