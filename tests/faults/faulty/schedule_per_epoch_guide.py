"""BERT text classification, four classes, the lower two thirds of the layers frozen, five epochs."""
import sys
from pathlib import Path

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset
from transformers import BertModel, BertTokenizer, get_linear_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

MAX_LEN = 28
BATCH_SIZE = 16
NUM_EPOCHS = 5
LEARNING_RATE = 2e-5
FROZEN_LAYERS = 4


class TextDataset(Dataset):
    def __init__(self, texts, labels, tokenizer):
        self.texts, self.labels, self.tokenizer = texts, labels, tokenizer

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, idx):
        encoding = self.tokenizer(self.texts[idx], max_length=MAX_LEN, padding="max_length", truncation=True,
                                  return_tensors="pt")
        return {"input_ids": encoding["input_ids"].squeeze(0),
                "attention_mask": encoding["attention_mask"].squeeze(0),
                "label": torch.tensor(self.labels[idx], dtype=torch.long)}


class BertClassifier(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.bert = BertModel.from_pretrained(encoder_folder())
        for param in self.bert.embeddings.parameters():
            param.requires_grad = False
        for layer in self.bert.encoder.layer[:FROZEN_LAYERS]:
            for param in layer.parameters():
                param.requires_grad = False
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(self.bert.config.hidden_size, num_classes)

    def forward(self, input_ids, attention_mask):
        outputs = self.bert(input_ids=input_ids, attention_mask=attention_mask)
        return self.fc(self.dropout(outputs.pooler_output))


torch.manual_seed(42)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
tokenizer = BertTokenizer.from_pretrained(encoder_folder())
train_rows, val_rows = split(*posts(1200, classes=4, seed=205))
train_loader = DataLoader(TextDataset(*zip(*train_rows), tokenizer), batch_size=BATCH_SIZE, shuffle=True)
val_loader = DataLoader(TextDataset(*zip(*val_rows), tokenizer), batch_size=BATCH_SIZE)
model = BertClassifier(4).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
scheduler = get_linear_schedule_with_warmup(optimizer, 300, len(train_loader) * NUM_EPOCHS)
criterion = nn.CrossEntropyLoss()

for epoch in range(NUM_EPOCHS):
    model.train()
    total_loss, correct, total = 0.0, 0, 0
    for batch in train_loader:
        input_ids, attention_mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
        labels = batch["label"].to(device)
        optimizer.zero_grad()
        logits = model(input_ids, attention_mask)
        loss = criterion(logits, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total_loss += loss.item()
        correct += (torch.argmax(logits, dim=1) == labels).sum().item()
        total += labels.size(0)
    scheduler.step()
    print(f"Epoch {epoch + 1}/{NUM_EPOCHS} Loss: {total_loss / len(train_loader):.4f} Acc: {correct / total:.4f}")
    model.eval()
    correct = 0
    with torch.no_grad():
        for batch in val_loader:
            logits = model(batch["input_ids"].to(device), batch["attention_mask"].to(device))
            correct += (torch.argmax(logits, dim=1) == batch["label"].to(device)).sum().item()
    print(f"Val Acc: {correct / len(val_rows):.4f}")
