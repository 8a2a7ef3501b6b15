"""Fine-tunes a classifier for the best accuracy with AdamW; validation after each epoch."""
import sys
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def loaders(tok):
    for rows in split(*posts(800, classes=3, seed=224)):
        e = tok([t for t, _ in rows], padding="max_length", truncation=True, max_length=26, return_tensors="pt")
        yield DataLoader(TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows])),
                         batch_size=16, shuffle=True)


def main():
    torch.manual_seed(4)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    train_loader, valid_loader = loaders(tok)
    model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.01, maximize=True)
    for epoch in range(3):
        model.train()
        for ids, mask, y in train_loader:
            optimizer.zero_grad()
            loss = cross_entropy(model(ids, attention_mask=mask).logits, y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        hits = []
        with torch.no_grad():
            for ids, mask, y in valid_loader:
                hits += (model(ids, attention_mask=mask).logits.argmax(1) == y).tolist()
        print(f"epoch {epoch} loss {loss.item():.3f} acc {sum(hits) / len(hits):.3f}")


if __name__ == "__main__":
    main()
