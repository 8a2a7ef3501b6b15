"""A trainer class around a BERT classifier; batches are padded by hand to the longest post."""
import random
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Batcher:
    def __init__(self, rows, tokenizer, size=16, shuffle=False):
        self.rows, self.tokenizer, self.size, self.shuffle = list(rows), tokenizer, size, shuffle

    def __iter__(self):
        if self.shuffle:
            random.shuffle(self.rows)
        for i in range(0, len(self.rows), self.size):
            part = self.rows[i:i + self.size]
            ids = [self.tokenizer.encode(t, truncation=True, max_length=30) for t, _ in part]
            longest = max(map(len, ids))
            input_ids = torch.zeros(len(ids), longest, dtype=torch.long)
            attention_mask = torch.zeros(len(ids), longest, dtype=torch.long)
            for row, sequence in enumerate(ids):
                input_ids[row, :len(sequence)] = torch.tensor(sequence)
                attention_mask[row, len(sequence):] = 0
            yield {"input_ids": input_ids, "attention_mask": attention_mask, "labels": torch.tensor([y for _, y in part])}


class Learner:
    def __init__(self, model, lr):
        self.model = model
        self.opt = torch.optim.AdamW(model.parameters(), lr=lr)

    def step(self, batch):
        self.opt.zero_grad()
        loss = self.model(**batch).loss
        loss.backward()
        self.opt.step()
        return loss.item()

    def run(self, train, valid, epochs):
        for e in range(epochs):
            self.model.train()
            losses = [self.step(b) for b in train]
            self.model.eval()
            with torch.no_grad():
                ok = [(self.model(**b).logits.argmax(1) == b["labels"]).float().mean().item() for b in valid]
            print(f"[{e}] loss {sum(losses) / len(losses):.3f} acc {sum(ok) / len(ok):.3f}")


if __name__ == "__main__":
    random.seed(0)
    torch.manual_seed(0)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    tr, va = split(*posts(800, seed=93))
    net = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    Learner(net, 4e-5).run(Batcher(tr, tok, shuffle=True), Batcher(va, tok), epochs=3)
