"""A small training framework with registry, callbacks and a moving average of the weights; film reviews."""
from __future__ import annotations

import abc
import copy
from dataclasses import dataclass, field
from typing import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

from corpus import encoder, reviews

REGISTRY: dict[str, Callable] = {}


def register(name):
    def deco(f):
        REGISTRY[name] = f
        return f
    return deco


class Callback(abc.ABC):
    def on_step_end(self, engine): ...
    def on_epoch_end(self, engine): ...


class Ema(Callback):
    def __init__(self, decay=0.9):
        self.decay, self.shadow = decay, None

    @torch.no_grad()
    def on_step_end(self, engine):
        if self.shadow is None:
            self.shadow = copy.deepcopy(engine.model)
        for s, p in zip(self.shadow.parameters(), engine.model.parameters()):
            s.lerp_(p, 1 - self.decay)


class Validate(Callback):
    def __init__(self, loader):
        self.loader = loader

    @torch.no_grad()
    def on_epoch_end(self, engine):
        ema = next((c for c in engine.callbacks if isinstance(c, Ema)), None)
        model = (ema.shadow if ema and ema.shadow is not None else engine.model).eval()
        hits = [(model(x).argmax(-1) == y) for x, y in self.loader]
        print(f"accuracy {torch.cat(hits).float().mean():.3f}")


@register("encoder-linear")
class EncoderLinear(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder())
        self.linear = nn.Linear(self.encoder.config.hidden_size, classes)

    def forward(self, x) -> Tensor:
        return self.linear(self.encoder(**x).pooler_output)


@dataclass
class Engine:
    model: nn.Module
    optimizer: torch.optim.Optimizer
    criterion: Callable[[Tensor, Tensor], Tensor]
    callbacks: list[Callback] = field(default_factory=list)
    step_number: int = 0

    def fire(self, event):
        for c in self.callbacks:
            getattr(c, event)(self)

    def fit(self, loader: Iterable, epochs: int):
        for _ in range(epochs):
            self.model.train()
            for x, y in loader:
                self.optimizer.zero_grad()
                self.criterion(self.model(x), y).backward()
                self.optimizer.step()
                self.step_number += 1
                self.fire("on_step_end")
            self.fire("on_epoch_end")


def main():
    torch.manual_seed(7)
    tok = AutoTokenizer.from_pretrained(encoder())
    rows = reviews(760, seed=7)
    collate = lambda b: (tok([t for t, _ in b], padding=True, truncation=True, max_length=36, return_tensors="pt"),
                         torch.tensor([y for _, y in b]))
    model = REGISTRY["encoder-linear"](2)
    decay, plain = [], []
    for n, p in model.named_parameters():
        (plain if n.endswith("bias") or "LayerNorm" in n else decay).append(p)
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0}], lr=5e-5)
    engine = Engine(model, optimizer, nn.CrossEntropyLoss(), [Ema(), Validate(DataLoader(rows[600:], 32, collate_fn=collate))])
    engine.fit(DataLoader(rows[:600], 16, shuffle=True, collate_fn=collate), epochs=3)


if __name__ == "__main__":
    main()
