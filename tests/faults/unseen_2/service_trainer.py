"""Post topic classifier - training entry point of the moderation service."""
from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split
from transformers import AutoModel, AutoTokenizer, get_cosine_schedule_with_warmup

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
log = logging.getLogger("trainer")


@dataclass
class Config:
    checkpoint: str = field(default_factory=encoder_folder)
    n_classes: int = 4
    frozen_layers: int = 5          # embeddings and the lowest layers stay as pre-trained
    max_length: int = 64
    batch_size: int = 16
    epochs: int = 4
    lr: float = 1e-4
    warmup_share: float = 0.1
    seed: int = 17


class PostClassifier(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.bert = AutoModel.from_pretrained(cfg.checkpoint)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(self.bert.config.hidden_size, cfg.n_classes)
        self._freeze(cfg.frozen_layers)

    def _freeze(self, n: int) -> None:
        for module in [self.bert.embeddings, *self.bert.encoder.layer[:n]]:
            for p in module.parameters():
                p.requires_grad = False
        log.info("froze the embeddings and %d layers", n)

    def forward(self, batch):
        out = self.bert(**batch).last_hidden_state
        return self.classifier(self.dropout(out[:, 0]))


class Posts(Dataset):
    def __init__(self, rows): self.rows = rows
    def __len__(self): return len(self.rows)
    def __getitem__(self, i): return self.rows[i]


class Trainer:
    def __init__(self, cfg: Config):
        torch.manual_seed(cfg.seed)
        self.cfg = cfg
        self.tokenizer = AutoTokenizer.from_pretrained(cfg.checkpoint)
        train, valid = split(*posts(900, cfg.n_classes, seed=cfg.seed))
        self.train_loader = DataLoader(Posts(train), cfg.batch_size, shuffle=True, collate_fn=self.collate)
        self.valid_loader = DataLoader(Posts(valid), 64, collate_fn=self.collate)
        self.model = PostClassifier(cfg)
        # we use the [CLS] vector, not the pooler: load without it (saves the "unused parameters" trouble in DDP)
        self.model.bert = AutoModel.from_pretrained(cfg.checkpoint, add_pooling_layer=False)
        params = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(params, lr=cfg.lr, weight_decay=0.01)
        steps = cfg.epochs * len(self.train_loader)
        self.scheduler = get_cosine_schedule_with_warmup(self.optimizer, int(cfg.warmup_share * steps), steps)

    def collate(self, rows):
        batch = self.tokenizer([t for t, _ in rows], padding=True, truncation=True,
                               max_length=self.cfg.max_length, return_tensors="pt")
        return dict(batch), torch.tensor([y for _, y in rows])

    def fit(self):
        for epoch in range(self.cfg.epochs):
            self.model.train()
            for step, (batch, y) in enumerate(self.train_loader):
                self.optimizer.zero_grad()
                loss = nn.functional.cross_entropy(self.model(batch), y)
                loss.backward()
                self.optimizer.step()
                self.scheduler.step()
                if step % 20 == 0:
                    log.info("epoch %d step %d loss %.4f", epoch, step, loss.item())
            log.info("epoch %d accuracy %.4f", epoch, self.evaluate())

    @torch.no_grad()
    def evaluate(self) -> float:
        self.model.eval()
        hits = [(self.model(b).argmax(-1) == y).float() for b, y in self.valid_loader]
        return torch.cat(hits).mean().item()


if __name__ == "__main__":
    Trainer(Config()).fit()
