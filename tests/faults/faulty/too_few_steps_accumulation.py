"""So much accumulation that the whole run makes four steps."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(0)
BATCH, ACCUMULATE, EPOCHS = 8, 32, 2
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(680, classes=4, seed=552))


def as_set(rows):
    enc = tok([t for t, _ in rows], truncation=True, padding=True, max_length=32, return_tensors="pt")
    return TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor([y for _, y in rows]))


train_loader, valid_loader = DataLoader(as_set(train), BATCH, shuffle=True), DataLoader(as_set(valid), 40)
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
for epoch in range(EPOCHS):
    model.train()
    for step, (ids, mask, y) in enumerate(train_loader, 1):
        loss = model(ids, attention_mask=mask, labels=y).loss
        (loss / ACCUMULATE).backward()
        if step % ACCUMULATE == 0 or step == len(train_loader):
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        hits = sum((model(i, attention_mask=m).logits.argmax(1) == y).sum().item() for i, m, y in valid_loader)
    print(epoch, loss.item(), hits / len(valid))
