"""Do two posts share a topic? One shared encoder, features (u, v, |u-v|, u*v), accelerate loop."""
import random
import sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer
from posts import encoder_folder, posts, split


def make_pairs(rows, rng):
    """Each post is the anchor of one positive and one negative pair."""
    pairs = []
    for text, topic in rows:
        same = rng.choice([t for t, y in rows if y == topic and t != text])
        other = rng.choice([t for t, y in rows if y != topic])
        pairs += [(text, same, 1), (text, other, 0)]
    return pairs


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.tower = AutoModel.from_pretrained(encoder_folder(), add_pooling_layer=False)
        self.head = nn.Sequential(nn.Linear(4 * 384, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 1))

    def embed(self, enc):
        h = self.tower(**enc).last_hidden_state
        m = enc["attention_mask"].unsqueeze(-1).to(h.dtype)
        return nn.functional.normalize((h * m).sum(1) / m.sum(1), dim=-1)

    def forward(self, a, b):
        u, v = self.embed(a), self.embed(b)
        return self.head(torch.cat([u, v, (u - v).abs(), u * v], -1)).squeeze(-1)


accelerator = Accelerator(cpu=True)
torch.manual_seed(31)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


def collate(pairs):
    a = tokenizer([p[0] for p in pairs], padding=True, return_tensors="pt")
    b = tokenizer([p[1] for p in pairs], padding=True, return_tensors="pt")
    return {"a": dict(a), "b": dict(b), "y": torch.tensor([float(p[2]) for p in pairs])}


train, valid = split(*posts(500, seed=61))
rng = random.Random(1)
train_dl = DataLoader(make_pairs(train, rng), 16, shuffle=True, collate_fn=collate)
valid_dl = DataLoader(make_pairs(valid, rng), 32, collate_fn=collate)
model = Siamese()
optimizer = torch.optim.AdamW([{"params": model.tower.parameters(), "lr": 3e-5},
                               {"params": model.head.parameters(), "lr": 1e-3}])
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, [6e-5, 2e-3], total_steps=5 * len(train_dl), pct_start=0.2)
model, optimizer, train_dl, valid_dl, scheduler = accelerator.prepare(model, optimizer, train_dl, valid_dl, scheduler)

for epoch in range(5):
    model.train()
    for i, batch in enumerate(train_dl):
        loss = nn.functional.binary_cross_entropy_with_logits(model(batch["a"], batch["b"]), batch["y"])
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if i % 10 == 0:
            accelerator.print(f"epoch {epoch} step {i} loss {loss.item():.3f}")
    model.eval()
    with torch.no_grad():
        hits = torch.cat([(model(b["a"], b["b"]) > 0) == b["y"].bool() for b in valid_dl])
    accelerator.print(f"epoch {epoch} same-topic accuracy {hits.float().mean():.3f}")
