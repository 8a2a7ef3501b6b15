"""LoRA without peft: rank-8 updates on query and value, everything else frozen."""
import math
import sys
from dataclasses import dataclass
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer
from posts import encoder_folder, posts, split


@dataclass(frozen=True)
class HP:
    rank: int = 8
    alpha: int = 16
    lr: float = 2e-3
    epochs: int = 5
    batch: int = 16


class LoRALinear(nn.Module):
    def __init__(self, base: nn.Linear, hp: HP):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.A = nn.Parameter(torch.empty(hp.rank, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, hp.rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.scale = hp.alpha / hp.rank

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.A.T @ self.B.T)


class Model(nn.Module):
    def __init__(self, hp: HP):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder(), add_pooling_layer=False).requires_grad_(False)
        for layer in self.encoder.encoder.layer:
            att = layer.attention.self
            att.query, att.value = LoRALinear(att.query, hp), LoRALinear(att.value, hp)
        self.head = nn.Linear(384, 4)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, enc):
        return self.head(self.encoder(**enc).last_hidden_state[:, 0])


def main(hp=HP()):
    torch.manual_seed(0)
    tok = AutoTokenizer.from_pretrained(encoder_folder())

    def collate(rows):
        return tok([t for t, _ in rows], padding=True, return_tensors="pt"), torch.tensor([y for _, y in rows])

    train, valid = split(*posts(900, seed=303))
    train_dl = DataLoader(train, hp.batch, shuffle=True, collate_fn=collate)
    valid_dl = DataLoader(valid, 45, collate_fn=collate)
    model = Model(hp)
    params = [p for p in model.parameters() if p.requires_grad]
    print(f"trainable: {sum(p.numel() for p in params):,} of {sum(p.numel() for p in model.parameters()):,}")
    opt = torch.optim.AdamW(params, lr=hp.lr, weight_decay=0)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=hp.epochs * len(train_dl))
    for epoch in range(hp.epochs):
        model.train()
        for enc, y in train_dl:
            loss = nn.functional.cross_entropy(model(enc), y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(params, 0.3)
            opt.step()
            sched.step()
        model.eval()
        with torch.inference_mode():
            acc = torch.cat([model(e).argmax(1) == y for e, y in valid_dl]).float().mean()
        print(f"epoch {epoch} loss {loss.item():.3f} acc {acc:.3f}", flush=True)


if __name__ == "__main__":
    main()
