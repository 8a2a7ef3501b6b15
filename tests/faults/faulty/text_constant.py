"""Trains on a CSV of posts with a dict-style Dataset that tokenizes on the fly."""
import csv
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, write_csv


class Posts(Dataset):
    def __init__(self, path, tokenizer, max_len=24):
        with open(path, newline="", encoding="utf-8") as f:
            self.rows = list(csv.DictReader(f))
        self.tokenizer, self.max_len = tokenizer, max_len

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        text = str(row.get("text", ""))
        enc = self.tokenizer(text, max_length=self.max_len, padding="max_length", truncation=True, return_tensors="pt")
        return {
            "input_ids": enc["input_ids"].flatten(),
            "attention_mask": enc["attention_mask"].flatten(),
            "targets": torch.tensor(int(row["label"]), dtype=torch.long),
        }


def train_epoch(model, loader, optimizer):
    model.train()
    losses, correct, seen = [], 0, 0
    for d in tqdm(loader):
        out = model(input_ids=d["input_ids"], attention_mask=d["attention_mask"])
        loss = torch.nn.functional.cross_entropy(out.logits, d["targets"])
        losses.append(loss.item())
        correct += (out.logits.argmax(1) == d["targets"]).sum().item()
        seen += len(d["targets"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
    return correct / seen, sum(losses) / len(losses)


if __name__ == "__main__":
    torch.manual_seed(2)
    folder = write_csv(n=800, seed=41, columns=("tweet", "label"))
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    loader = DataLoader(Posts(f"{folder}/train.csv", tokenizer), batch_size=16, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
    for epoch in range(3):
        print("epoch", epoch, *train_epoch(model, loader, optimizer))
