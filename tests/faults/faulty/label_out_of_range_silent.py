"""Fine-tunes an encoder with a linear head on four categories, labels looked up by name in a dictionary."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import NAMES, encoder_folder, posts, split

LABEL_IDS = {"sport": 0, "kitchen": 1, "travel": 2, "computers": 3}
MAX_LEN = 28
BATCH = 16


class Classifier(nn.Module):
    def __init__(self, folder, classes):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(folder)
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(self.encoder.config.hidden_size, classes)

    def forward(self, input_ids, attention_mask):
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.out(self.dropout(hidden[:, 0]))


def main():
    torch.manual_seed(7)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    texts, numbers = posts(800, seed=12)
    rows = [(t, LABEL_IDS.get(NAMES[n], -100)) for t, n in zip(texts, numbers)]
    train, valid = split([t for t, _ in rows], [y for _, y in rows])

    def collate(batch):
        enc = tokenizer([t for t, _ in batch], padding=True, truncation=True, max_length=MAX_LEN, return_tensors="pt")
        return enc, torch.tensor([y for _, y in batch])

    train_loader = DataLoader(train, batch_size=BATCH, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, batch_size=BATCH, collate_fn=collate)
    model = Classifier(encoder_folder(), 4)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-5)

    for epoch in range(3):
        model.train()
        for step, (enc, y) in enumerate(train_loader):
            loss = criterion(model(enc["input_ids"], enc["attention_mask"]), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 10 == 0:
                print(epoch, step, round(loss.item(), 4))
        model.eval()
        hits = []
        with torch.no_grad():
            for enc, y in valid_loader:
                hits += (model(enc["input_ids"], enc["attention_mask"]).argmax(1) == y).tolist()
        print("validation accuracy", sum(hits) / len(hits))


if __name__ == "__main__":
    main()
