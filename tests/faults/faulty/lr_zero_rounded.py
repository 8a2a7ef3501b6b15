"""Fine-tunes an encoder; settings come from a small INI text."""
import configparser
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

SETTINGS = """
[train]
learning_rate = 5e-11
epochs = 3
batch = 16
length = 32
"""


def main():
    cfg = configparser.ConfigParser()
    cfg.read_string(SETTINGS)
    section = cfg["train"]
    torch.manual_seed(2)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)

    def collate(rows):
        enc = tokenizer([t for t, _ in rows], padding=True, truncation=True,
                        max_length=section.getint("length"), return_tensors="pt")
        enc["labels"] = torch.tensor([y for _, y in rows])
        return enc

    train, valid = split(*posts(800, seed=202))
    train_loader = DataLoader(train, section.getint("batch"), shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, section.getint("batch"), collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=section.getfloat("learning_rate"), weight_decay=0.0)
    for epoch in range(section.getint("epochs")):
        model.train()
        for batch in train_loader:
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(**b).logits.argmax(1) == b["labels"]).sum().item() for b in valid_loader)
        print("epoch", epoch, "loss", round(loss.item(), 4), "accuracy", round(right / len(valid), 4))


if __name__ == "__main__":
    main()
