# ====================================================
# Library
# ====================================================
import os, sys, csv, gc, time, random, warnings
warnings.filterwarnings("ignore")
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import Dataset, DataLoader
from sklearn.metrics import f1_score
from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup
from posts import write_csv, encoder_folder

# ====================================================
# CFG
# ====================================================
class CFG:
    debug = False
    model = encoder_folder()
    path = write_csv(1000, classes=4, seed=21, names=True, columns=("tweet", "target"))
    max_len = 48
    bs = 16
    epochs = 4
    lr = 1e-4
    wd = 0.01
    seed = 42

def seed_everything(seed=42):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)
seed_everything(CFG.seed)

# ====================================================
# Data
# ====================================================
def read(name):
    with open(os.path.join(CFG.path, name), encoding="utf-8") as f:
        return list(csv.DictReader(f))

class TweetDS(Dataset):
    def __init__(self, df, tok):
        self.tweet = [r["tweet"] for r in df]
        self.classes = list(dict.fromkeys(r["target"] for r in df))
        self.target = [self.classes.index(r["target"]) for r in df]
        self.tok = tok
    def __len__(self):
        return len(self.tweet)
    def __getitem__(self, i):
        enc = self.tok(self.tweet[i], truncation=True, max_length=CFG.max_len, padding="max_length")
        item = {k: torch.tensor(v) for k, v in enc.items()}
        return item, torch.tensor(self.target[i])

class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.backbone = AutoModel.from_pretrained(CFG.model)
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(self.backbone.config.hidden_size, n)
    def forward(self, x):
        h = self.backbone(**x).last_hidden_state
        m = x["attention_mask"].unsqueeze(-1).float()
        return self.fc(self.drop((h * m).sum(1) / m.sum(1)))

tok = AutoTokenizer.from_pretrained(CFG.model)
train_ds, valid_ds = TweetDS(read("train.csv"), tok), TweetDS(read("valid.csv"), tok)
train_dl = DataLoader(train_ds, batch_size=CFG.bs, shuffle=True, drop_last=True)
valid_dl = DataLoader(valid_ds, batch_size=CFG.bs * 2)

# ====================================================
# Train loop
# ====================================================
model = Net(len(train_ds.classes))
optimizer = torch.optim.AdamW(model.parameters(), lr=CFG.lr, weight_decay=CFG.wd)
total = len(train_dl) * CFG.epochs
scheduler = get_linear_schedule_with_warmup(optimizer, int(0.06 * total), total)
crit = nn.CrossEntropyLoss()
best = 0
for epoch in range(CFG.epochs):
    model.train(); t0 = time.time(); avg = 0
    for x, y in train_dl:
        optimizer.zero_grad()
        loss = crit(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1000)
        optimizer.step(); scheduler.step()
        avg += loss.item() / len(train_dl)
    model.eval(); preds, trues = [], []
    with torch.no_grad():
        for x, y in valid_dl:
            preds.append(model(x).argmax(1).numpy()); trues.append(y.numpy())
    score = f1_score(np.concatenate(trues), np.concatenate(preds), average="macro")
    print(f"Epoch {epoch+1} - avg_train_loss: {avg:.4f}  CV: {score:.4f}  time: {time.time()-t0:.0f}s")
    if score > best:
        best = score; print(f"  - Save Best Score: {best:.4f}")
    gc.collect()
