"""Embeddings and the lower half of the layers frozen; all parameters are handed to the optimizer."""
import sys
from pathlib import Path

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset
from transformers import BertModel, BertTokenizer, get_linear_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Texts(Dataset):
    def __init__(self, rows, tokenizer):
        self.rows, self.tokenizer = rows, tokenizer

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        text, label = self.rows[i]
        e = self.tokenizer(text, max_length=30, padding="max_length", truncation=True, return_tensors="pt")
        return {"input_ids": e["input_ids"].squeeze(0), "attention_mask": e["attention_mask"].squeeze(0), "label": label}


class Model(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.bert = BertModel.from_pretrained(encoder_folder())
        self.bert.embeddings.requires_grad_(False)
        for layer in self.bert.encoder.layer[:3]:
            layer.requires_grad_(False)
        self.fc = nn.Linear(384, classes)
        self.dropout = nn.Dropout(0.2)

    def forward(self, input_ids, attention_mask):
        return self.fc(self.dropout(self.bert(input_ids, attention_mask=attention_mask).pooler_output))


def main():
    torch.manual_seed(15)
    tokenizer = BertTokenizer.from_pretrained(encoder_folder())
    train, valid = split(*posts(800, seed=415))
    train_loader = DataLoader(Texts(train, tokenizer), 16, shuffle=True)
    valid_loader = DataLoader(Texts(valid, tokenizer), 16)
    model = Model(4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    scheduler = get_linear_schedule_with_warmup(optimizer, 10, 3 * len(train_loader))
    for epoch in range(3):
        model.train()
        for batch in train_loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(batch["input_ids"], batch["attention_mask"]), batch["label"])
            loss.backward()
            optimizer.step()
            scheduler.step()
        model.eval()
        with torch.no_grad():
            n = sum((model(b["input_ids"], b["attention_mask"]).argmax(1) == b["label"]).sum().item() for b in valid_loader)
        print(f"Epoch {epoch + 1} Loss {loss.item():.4f} Acc {n / len(valid):.4f}")


if __name__ == "__main__":
    main()
