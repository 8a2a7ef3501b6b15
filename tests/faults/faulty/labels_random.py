"""Trains a BERT classifier on shuffled posts; prints loss and accuracy by epoch."""
import random
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts

random.seed(42)
torch.manual_seed(42)

texts, labels = posts(1000, classes=3, seed=21)
random.shuffle(texts)
n = 800

tok = AutoTokenizer.from_pretrained(encoder_folder())
encoded = tok(texts, padding=True, truncation=True, max_length=32, return_tensors="pt")
y = torch.tensor(labels)
dataset = TensorDataset(encoded.input_ids, encoded.attention_mask, y)
train_dl = DataLoader(TensorDataset(*dataset[:n]), batch_size=16, shuffle=True)
test_dl = DataLoader(TensorDataset(*dataset[n:]), batch_size=16)

net = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=3)
opt = torch.optim.AdamW(net.parameters(), lr=3e-5)
loss_fn = torch.nn.CrossEntropyLoss()

for epoch in range(3):
    net.train()
    running, correct = 0.0, 0
    for ids, mask, target in train_dl:
        opt.zero_grad()
        logits = net(ids, attention_mask=mask).logits
        loss = loss_fn(logits, target)
        loss.backward()
        opt.step()
        running += loss.item()
        correct += (logits.argmax(1) == target).sum().item()
    print("train", epoch, running / len(train_dl), correct / n)
    net.eval()
    correct = 0
    with torch.no_grad():
        for ids, mask, target in test_dl:
            correct += (net(ids, attention_mask=mask).logits.argmax(1) == target).sum().item()
    print("test", epoch, correct / (len(texts) - n))
