# 0.87 LB single model - mixup on embeddings + label smoothing
import sys, random
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer, get_cosine_with_hard_restarts_schedule_with_warmup
from posts import posts, split, encoder_folder

SEED, BS, EPOCHS, LR, ALPHA, SMOOTH = 2024, 20, 6, 1e-4, 0.4, 0.2
random.seed(SEED); np.random.seed(SEED); torch.manual_seed(SEED)
MODEL = encoder_folder()
tok = AutoTokenizer.from_pretrained(MODEL)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = AutoModel.from_pretrained(MODEL, add_pooling_layer=False)
        self.fc = nn.Linear(384, 4)
    def forward(self, ids, mask, lam=None, perm=None):
        e = self.enc.embeddings.word_embeddings(ids)
        if lam is not None:
            e = lam * e + (1 - lam) * e[perm]
            mask = torch.maximum(mask, mask[perm])
        h = self.enc(inputs_embeds=e, attention_mask=mask).last_hidden_state
        return self.fc((h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))

def collate(rows):
    b = tok([t for t, _ in rows], padding="max_length", max_length=36, truncation=True, return_tensors="pt")
    return b["input_ids"], b["attention_mask"], torch.tensor([y for _, y in rows])

tr, va = split(*posts(1000, seed=SEED))
tr_dl = DataLoader(tr, BS, shuffle=True, drop_last=True, collate_fn=collate)
va_dl = DataLoader(va, 50, collate_fn=collate)
net = Net()
opt = torch.optim.AdamW([{"params": net.enc.parameters(), "lr": LR}, {"params": net.fc.parameters(), "lr": 10 * LR}])
n = EPOCHS * len(tr_dl)
sch = get_cosine_with_hard_restarts_schedule_with_warmup(opt, int(.05 * n), n, num_cycles=EPOCHS)

def soft(y):
    t = torch.full((len(y), 4), SMOOTH / 4)
    t.scatter_(1, y[:, None], 1 - SMOOTH + SMOOTH / 4)
    return t

for ep in range(EPOCHS):
    net.train(); tot = 0
    for ids, mask, y in tr_dl:
        lam = float(np.random.beta(ALPHA, ALPHA)); perm = torch.randperm(len(y))
        target = lam * soft(y) + (1 - lam) * soft(y[perm])
        out = net(ids, mask, lam, perm)
        loss = -(target * F.log_softmax(out, -1)).sum(-1).mean()
        opt.zero_grad(); loss.backward(); opt.step(); sch.step()
        tot += loss.item()
    net.eval(); ok = 0
    with torch.no_grad():
        for ids, mask, y in va_dl:
            ok += (net(ids, mask).argmax(1) == y).sum().item()
    print(f"ep {ep}  loss {tot/len(tr_dl):.4f}  val acc {ok/len(va):.4f}", flush=True)
