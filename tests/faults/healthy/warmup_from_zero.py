"""The usual recipe: AdamW, linear schedule with 10 % warm-up per step, clipping at 1.0, four classes."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification, get_linear_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

EPOCHS = 3
torch.manual_seed(1)
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(800, seed=401))


def data(rows):
    e = tok([t for t, _ in rows], padding="max_length", truncation=True, max_length=32, return_tensors="pt")
    return TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows]))


train_loader = DataLoader(data(train), batch_size=16, shuffle=True)
valid_loader = DataLoader(data(valid), batch_size=16)
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01)
total = EPOCHS * len(train_loader)
scheduler = get_linear_schedule_with_warmup(optimizer, int(0.1 * total), total)

for epoch in range(EPOCHS):
    model.train()
    losses = []
    for ids, mask, y in train_loader:
        optimizer.zero_grad()
        loss = model(ids, attention_mask=mask, labels=y).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    model.eval()
    right = 0
    with torch.no_grad():
        for ids, mask, y in valid_loader:
            right += (model(ids, attention_mask=mask).logits.argmax(1) == y).sum().item()
    print(f"epoch {epoch}: loss {sum(losses) / len(losses):.4f} accuracy {right / len(valid):.4f}")
