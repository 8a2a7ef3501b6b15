"""Film reviews, good or bad; the rate is set by hand at the start of each epoch."""
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from corpus import encoder, reviews

torch.manual_seed(0)
NUM_EPOCHS = 4
BASE_LR = 4e-5
data = reviews(800, seed=1)
train_data, dev_data = data[:640], data[640:]
T = AutoTokenizer.from_pretrained(encoder())
M = AutoModelForSequenceClassification.from_pretrained(encoder(), num_labels=2)
optimizer = torch.optim.AdamW(M.parameters(), lr=BASE_LR)


def adjust_learning_rate(optimizer, epoch):
    """ramps up to the full rate over the epochs"""
    lr = BASE_LR * ((epoch + 1) // NUM_EPOCHS)
    for g in optimizer.param_groups:
        g["lr"] = lr
    return lr


def coll(b):
    e = T([x for x, _ in b], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return e, torch.tensor([y for _, y in b])


dl = DataLoader(train_data, batch_size=16, shuffle=True, collate_fn=coll)
for epoch in range(NUM_EPOCHS):
    lr = adjust_learning_rate(optimizer, epoch)
    M.train()
    run = 0.0
    for e, y in dl:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(M(**e).logits, y)
        loss.backward()
        optimizer.step()
        run += loss.item()
    M.eval()
    with torch.no_grad():
        acc = sum((M(**e).logits.argmax(1) == y).sum().item() for e, y in DataLoader(dev_data, 16, collate_fn=coll))
    print(f"[{epoch}] loss={run / len(dl):.4f} acc={acc / len(dev_data):.4f}")
