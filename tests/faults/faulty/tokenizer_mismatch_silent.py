"""Trains an encoder with a vocabulary file that was re-saved in alphabetical order."""
import sys
import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import BertForSequenceClassification, BertTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def own_vocabulary():
    words = Path(encoder_folder(), "vocab.txt").read_text(encoding="utf-8").splitlines()
    path = Path(tempfile.mkdtemp()) / "vocab.txt"
    path.write_text("\n".join(SPECIAL + sorted(w for w in words if w not in SPECIAL)) + "\n", encoding="utf-8")
    return str(path)


def dataset(tokenizer, rows):
    enc = tokenizer([t for t, _ in rows], padding="max_length", max_length=28, truncation=True, return_tensors="pt")
    return TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor([y for _, y in rows]))


def main():
    torch.manual_seed(8)
    tokenizer = BertTokenizer(vocab=own_vocabulary())
    train, valid = split(*posts(800, seed=94))
    train_loader = DataLoader(dataset(tokenizer, train), batch_size=16, shuffle=True)
    valid_loader = DataLoader(dataset(tokenizer, valid), batch_size=16)
    model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
    for epoch in range(3):
        model.train()
        for ids, mask, labels in train_loader:
            optimizer.zero_grad()
            out = model(ids, attention_mask=mask, labels=labels)
            out.loss.backward()
            optimizer.step()
        model.eval()
        right = 0
        for ids, mask, labels in valid_loader:
            with torch.no_grad():
                right += int((model(ids, attention_mask=mask).logits.argmax(-1) == labels).sum())
        print(f"epoch {epoch}: loss {out.loss.item():.3f}, accuracy {right / len(valid):.3f}")


if __name__ == "__main__":
    main()
