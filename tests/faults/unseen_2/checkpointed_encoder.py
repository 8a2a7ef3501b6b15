"""Memory-saving fine-tuning: the encoder is recomputed in backward, batch 32 fits on the small card."""
import argparse
import sys

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split
from transformers import AutoModel, AutoTokenizer

ap = argparse.ArgumentParser()
ap.add_argument("--epochs", type=int, default=5)
ap.add_argument("--batch", type=int, default=24)
ap.add_argument("--lr", type=float, default=1e-4)
ap.add_argument("--head-lr", type=float, default=1e-3)
ap.add_argument("--no-checkpointing", action="store_true")
opt = ap.parse_args()
torch.manual_seed(1)


class TopicModel(nn.Module):
    def __init__(self, folder, classes, recompute=True):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(folder)
        self.head = nn.Sequential(nn.Linear(384, 256), nn.GELU(), nn.Dropout(0.1), nn.Linear(256, classes))
        self.recompute = recompute

    def encode(self, ids, mask):
        return self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]

    def forward(self, ids, mask):
        if self.training and self.recompute:
            vec = checkpoint(self.encode, ids, mask, use_reentrant=True)
        else:
            vec = self.encode(ids, mask)
        return self.head(vec)


tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


def collate(rows):
    enc = tokenizer([t for t, _ in rows], padding="longest", truncation=True, max_length=64, return_tensors="pt")
    return enc.input_ids, enc.attention_mask, torch.tensor([y for _, y in rows])


train_rows, valid_rows = split(*posts(1000, seed=12))
train_dl = DataLoader(train_rows, opt.batch, shuffle=True, collate_fn=collate)
valid_dl = DataLoader(valid_rows, 50, collate_fn=collate)

model = TopicModel(encoder_folder(), 4, recompute=not opt.no_checkpointing)
optim = torch.optim.AdamW([
    {"params": model.encoder.parameters(), "lr": opt.lr},
    {"params": model.head.parameters(), "lr": opt.head_lr},
], weight_decay=0.01)
sched = torch.optim.lr_scheduler.LinearLR(optim, 1.0, 0.05, total_iters=opt.epochs * len(train_dl))

for epoch in range(opt.epochs):
    model.train()
    for step, (ids, mask, y) in enumerate(train_dl):
        loss = nn.functional.cross_entropy(model(ids, mask), y)
        optim.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        sched.step()
        if step % 10 == 0:
            print(f"[{epoch}:{step}] {loss.item():.4f}", flush=True)
    model.eval()
    with torch.no_grad():
        ok = sum((model(i, m).argmax(-1) == y).sum().item() for i, m, y in valid_dl)
    print(f"epoch {epoch} valid acc {ok / len(valid_rows):.4f}")
