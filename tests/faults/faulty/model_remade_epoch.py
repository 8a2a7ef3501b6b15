"""Model and optimizer are made inside the loop over the epochs."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(0)
EPOCHS = 4
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(640, classes=4, seed=541))


def as_set(rows):
    enc = tok([t for t, _ in rows], truncation=True, padding=True, max_length=32, return_tensors="pt")
    return TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor([y for _, y in rows]))


train_loader, valid_loader = DataLoader(as_set(train), 16, shuffle=True), DataLoader(as_set(valid), 40)
for epoch in range(EPOCHS):
    model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    model.train()
    for ids, mask, y in train_loader:
        optimizer.zero_grad()
        loss = model(ids, attention_mask=mask, labels=y).loss
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = sum((model(i, attention_mask=m).logits.argmax(1) == y).sum().item() for i, m, y in valid_loader)
    print(f"epoch {epoch}: loss {loss.item():.4f}, accuracy {hits / len(valid):.3f}")
