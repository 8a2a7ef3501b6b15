"""Star ratings 1-4 as ordinal regression: K-1 outputs, output k answers 'more than k stars?' (Frank & Hall).

Batches hold posts with the same number of tokens only, so there is no padding and no mask.
"""
import collections
import random
import sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import torch
from transformers import AutoModel, AutoTokenizer
from posts import encoder_folder, posts, split

K, SIZE, EPOCHS = 4, 16, 6
rng = random.Random(0)
torch.manual_seed(0)

tok = AutoTokenizer.from_pretrained(encoder_folder())
texts, topic = posts(1000, classes=K, seed=404)
stars = [y + 1 for y in topic]
train, valid = split(texts, stars)


def batches(rows, shuffle):
    by_length = collections.defaultdict(list)
    for text, star in rows:
        ids = tok(text)["input_ids"]
        by_length[len(ids)].append((ids, star))
    made = []
    for group in by_length.values():
        if shuffle:
            rng.shuffle(group)
        made += [group[i:i + SIZE] for i in range(0, len(group), SIZE)]
    if shuffle:
        rng.shuffle(made)
    for group in made:
        ids, star = zip(*group)
        yield torch.tensor(ids), torch.tensor(star)


encoder = AutoModel.from_pretrained(encoder_folder())
head = torch.nn.Linear(384, K - 1)
opt_encoder = torch.optim.AdamW(encoder.parameters(), lr=1e-4)
opt_head = torch.optim.Adam(head.parameters(), lr=2e-3)
bce = torch.nn.BCELoss()


def forward(ids):
    return torch.sigmoid(head(encoder(ids).last_hidden_state.mean(1)))


def train_epoch():
    encoder.train()
    losses = []
    for ids, star in batches(train, True):
        target = (star[:, None] > torch.arange(1, K)).float()
        loss = bce(forward(ids), target)
        opt_encoder.zero_grad()
        opt_head.zero_grad()
        loss.backward()
        opt_encoder.step()
        opt_head.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def mean_absolute_error():
    encoder.eval()
    wrong = n = 0
    for ids, star in batches(valid, False):
        wrong += (1 + (forward(ids) > 0.5).sum(1) - star).abs().sum().item()
        n += len(star)
    return wrong / n


for epoch in range(EPOCHS):
    print(f"epoch {epoch}: loss {train_epoch():.3f}  MAE {mean_absolute_error():.3f} stars", flush=True)
