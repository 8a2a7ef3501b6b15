"""A training loop driven by named events; tickets of five queues."""
from collections import defaultdict

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from corpus import QUEUES, encoder, tickets


class Events:
    def __init__(self):
        self.handlers = defaultdict(list)

    def on(self, name):
        return lambda f: self.handlers[name].append(f) or f

    def emit(self, name, **kw):
        for f in self.handlers[name]:
            f(**kw)


class Loop:
    def __init__(self, model, loader, events):
        self.model, self.loader, self.events = model, loader, events

    def run(self, epochs):
        self.events.emit("train_begin", loop=self)
        for self.epoch in range(epochs):
            self.model.train()
            for self.step, batch in enumerate(self.loader):
                self.events.emit("batch_begin", loop=self)
                self.loss = self.model(**batch).loss
                self.loss.backward()
                self.events.emit("after_backward", loop=self)
            self.events.emit("epoch_end", loop=self)


def main():
    torch.manual_seed(8)
    tok = AutoTokenizer.from_pretrained(encoder())
    names = list(QUEUES)

    def collate(rows):
        e = tok([t for t, _ in rows], padding=True, truncation=True, max_length=40, return_tensors="pt")
        return {**e, "labels": torch.tensor([names.index(q) for _, q in rows])}

    data = tickets(800, seed=8)
    model = AutoModelForSequenceClassification.from_pretrained(encoder(), num_labels=5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    events = Events()

    @events.on("batch_begin")
    def clear(loop):
        optimizer.zero_grad()

    @events.on("after_backwards")
    def update(loop):
        torch.nn.utils.clip_grad_norm_(loop.model.parameters(), 1.0)
        optimizer.step()

    @events.on("epoch_end")
    def report(loop):
        loop.model.eval()
        with torch.no_grad():
            n = sum((model(**b).logits.argmax(1) == b["labels"]).sum().item()
                    for b in DataLoader(data[600:], 20, collate_fn=collate))
        print(f"epoch {loop.epoch} loss {loop.loss.item():.4f} accuracy {n / 200:.3f}")

    Loop(model, DataLoader(data[:600], 16, shuffle=True, collate_fn=collate), events).run(4)


if __name__ == "__main__":
    main()
