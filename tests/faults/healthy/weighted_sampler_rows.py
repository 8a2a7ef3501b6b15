"""A weighted sampler with one weight per row; the rarest class has a dozen rows, which come again and again."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(0)
train, valid = split(*posts(720, classes=4, seed=504, shares=[30, 10, 1, 1]))
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


def as_dataset(rows):
    enc = tokenizer([r[0] for r in rows], truncation=True, padding=True, max_length=30, return_tensors="pt")
    return TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor([r[1] for r in rows]))


train_set = as_dataset(train)
class_weights = len(train) / torch.bincount(train_set.tensors[2]).float()
sampler = WeightedRandomSampler(class_weights[train_set.tensors[2]], num_samples=len(train_set))
train_loader = DataLoader(train_set, batch_size=16, sampler=sampler)
valid_loader = DataLoader(as_dataset(valid), batch_size=30)
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

for epoch in range(3):
    model.train()
    for ids, mask, y in train_loader:
        loss = model(input_ids=ids, attention_mask=mask, labels=y).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = sum((model(ids, attention_mask=mask).logits.argmax(1) == y).sum().item() for ids, mask, y in valid_loader)
    print(epoch, loss.item(), "accuracy", hits / len(valid))
