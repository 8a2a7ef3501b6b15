"""A trainer class with small methods for each part of a training step."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Trainer:
    def __init__(self, model, train_set, valid_set, lr=5e-5, batch_size=16):
        self.model = model
        self.train_loader = DataLoader(train_set, batch_size=batch_size, shuffle=True)
        self.valid_loader = DataLoader(valid_set, batch_size=batch_size)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)

    def forward_backward(self, batch):
        ids, mask, labels = batch
        loss = self.model(ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        return loss.item()

    def update(self):
        self.optimizer.zero_grad()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def epoch(self):
        self.model.train()
        losses = []
        for batch in self.train_loader:
            losses.append(self.forward_backward(batch))
            self.update()
        return sum(losses) / len(losses)

    @torch.inference_mode()
    def evaluate(self):
        self.model.eval()
        hits = [self.model(i, attention_mask=m).logits.argmax(1) == y for i, m, y in self.valid_loader]
        return torch.cat(hits).float().mean().item()

    def fit(self, epochs):
        for n in range(1, epochs + 1):
            print(f"epoch {n}/{epochs}  loss {self.epoch():.4f}  accuracy {self.evaluate():.4f}")


def encode(tokenizer, rows):
    e = tokenizer([t for t, _ in rows], padding="max_length", truncation=True, max_length=28, return_tensors="pt")
    return TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows]))


if __name__ == "__main__":
    torch.manual_seed(77)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    train_rows, valid_rows = split(*posts(800, seed=216))
    net = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    Trainer(net, encode(tokenizer, train_rows), encode(tokenizer, valid_rows)).fit(3)
