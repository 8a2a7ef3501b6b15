"""Trains an encoder with a linear head; posts are padded to a fixed length of 64."""
import sys
from pathlib import Path

import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class TextDataset(Dataset):
    def __init__(self, rows, tokenizer):
        self.rows, self.tokenizer = rows, tokenizer

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, idx):
        text, label = self.rows[idx]
        ids = self.tokenizer.encode(text, padding="max_length", truncation=True, max_length=64)
        return torch.tensor(ids), label


class BertClassifier(nn.Module):
    def __init__(self, n_classes=4):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder())
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(self.bert.config.hidden_size, n_classes)

    def forward(self, input_ids):
        outputs = self.bert(input_ids)
        return self.classifier(self.dropout(outputs[1]))


def accuracy(model, loader):
    model.eval()
    right = n = 0
    with torch.no_grad():
        for ids, labels in loader:
            right += (model(ids).argmax(1) == labels).sum().item()
            n += len(labels)
    return right / n


if __name__ == "__main__":
    torch.manual_seed(10)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    train_rows, valid_rows = split(*posts(800, seed=91))
    train_loader = DataLoader(TextDataset(train_rows, tokenizer), batch_size=16, shuffle=True)
    valid_loader = DataLoader(TextDataset(valid_rows, tokenizer), batch_size=16)
    model = BertClassifier()
    criterion, optimizer = nn.CrossEntropyLoss(), optim.AdamW(model.parameters(), lr=5e-5)
    for epoch in range(2):
        model.train()
        for ids, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(ids), labels)
            loss.backward()
            optimizer.step()
        print("Epoch", epoch, "loss", loss.item(), "val acc", accuracy(model, valid_loader))
