"""5-fold CV with EDA-style augmentation (random swap / random deletion, Wei & Zou 2019)."""
import random
import sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModel, AutoTokenizer

from posts import encoder_folder, posts

random.seed(11); np.random.seed(11); torch.manual_seed(11)


def random_swap(words):
    i, j = random.sample(range(len(words)), 2)
    words[i], words[j] = words[j], words[i]
    return words


def random_delete(words):
    del words[random.randrange(len(words))]
    return words


def eda(texts, labels, n_aug=1):
    out_x, out_y = list(texts), list(labels)
    for t, l in zip(texts, labels):
        for _ in range(n_aug):
            op = random.choice([random_swap, random_delete])
            out_x.append(" ".join(op(t.split())))
            out_y.append(l)
    return out_x, out_y


texts, labels = posts(600, classes=4, seed=101)
texts, labels = eda(texts, labels)
labels = np.array(labels)

tok = AutoTokenizer.from_pretrained(encoder_folder())
enc = tok(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")


class Clf(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = AutoModel.from_pretrained(encoder_folder())
        self.out = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(384, 4))

    def forward(self, ids, mask):
        h = self.enc(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.out((h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


def loader(index, train):
    index = torch.as_tensor(index)
    ds = TensorDataset(enc["input_ids"][index], enc["attention_mask"][index], torch.tensor(labels)[index])
    return DataLoader(ds, batch_size=24, shuffle=train)


scores = []
for fold, (tr, va) in enumerate(StratifiedKFold(5, shuffle=True, random_state=1).split(texts, labels)):
    net = Clf()
    optim = torch.optim.AdamW(net.parameters(), lr=7e-5, weight_decay=0.01)
    for epoch in range(3):
        net.train()
        for ids, mask, y in loader(tr, True):
            loss = torch.nn.functional.cross_entropy(net(ids, mask), y)
            optim.zero_grad(); loss.backward(); optim.step()
        net.eval()
        with torch.no_grad():
            acc = np.mean([(net(i, m).argmax(1) == y).float().mean().item() for i, m, y in loader(va, False)])
        print(f"fold {fold} epoch {epoch} loss {loss.item():.3f} acc {acc:.3f}", flush=True)
    scores.append(acc)
print("CV accuracy", np.mean(scores), "+-", np.std(scores))
