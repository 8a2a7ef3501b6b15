"""Two loader workers; validation every 12 steps, back to training mode after it; warm restarts of the rate."""
import sys
from pathlib import Path

import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from torch.utils.data import DataLoader, Dataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Posts(Dataset):
    def __init__(self, rows):
        self.rows = rows
        self.tok = AutoTokenizer.from_pretrained(encoder_folder())

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        text, label = self.rows[i]
        e = self.tok(text, padding="max_length", truncation=True, max_length=28, return_tensors="pt")
        return e["input_ids"][0], e["attention_mask"][0], label


@torch.no_grad()
def validate(model, loader):
    was_training = model.training
    model.eval()
    right = n = 0
    for ids, mask, y in loader:
        right += (model(ids, attention_mask=mask).logits.argmax(1) == y).sum().item()
        n += len(y)
    model.train(was_training)
    return right / n


def main():
    torch.manual_seed(21)
    train, valid = split(*posts(700, seed=421), share=0.12)
    train_loader = DataLoader(Posts(train), 16, shuffle=True, num_workers=2, drop_last=True)
    valid_loader = DataLoader(Posts(valid), 42)
    model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-5)
    scheduler = CosineAnnealingWarmRestarts(optimizer, T_0=30, eta_min=1e-6)
    step = 0
    model.train()
    for epoch in range(3):
        for ids, mask, y in train_loader:
            optimizer.zero_grad()
            loss = model(ids, attention_mask=mask, labels=y).loss
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            if step % 12 == 0:
                print(f"step {step} loss {loss.item():.3f} valid {validate(model, valid_loader):.3f}")


if __name__ == "__main__":
    main()
