"""Tickets with OneCycleLR; the notebook's cells joined into one file."""
import torch, time
import torch.nn as nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, AutoModelForSequenceClassification
from corpus import *

# In[1]:
device = 'cuda' if torch.cuda.is_available() else 'cpu'
torch.manual_seed(6)
names = list(QUEUES)
df = tickets(1000, seed=6)
train, test = df[:800], df[800:]

# In[2]:
tok = AutoTokenizer.from_pretrained(encoder())
def collate(b):
    X = tok([x[0] for x in b], padding=True, truncation=True, max_length=40, return_tensors='pt').to(device)
    return X, torch.tensor([names.index(x[1]) for x in b], device=device)
train_dl = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
test_dl = DataLoader(test, batch_size=16, collate_fn=collate)

# In[3]:
model = AutoModelForSequenceClassification.from_pretrained(encoder(), num_labels=5).to(device)
EPOCHS = 6
opt = torch.optim.AdamW(model.parameters(), lr=2e-5)
sched = OneCycleLR(opt, max_lr=2e-5, total_steps=EPOCHS * len(train_dl), pct_start=0.3, div_factor=1000)
loss_fn = nn.CrossEntropyLoss()

# In[4]:
for epoch in range(EPOCHS):
    t = time.time()
    model.train()
    for X, y in train_dl:
        opt.zero_grad()
        loss = loss_fn(model(**X).logits, y)
        loss.backward()
        opt.step()
    sched.step()
    model.eval()
    ok = 0
    with torch.no_grad():
        for X, y in test_dl:
            ok += (model(**X).logits.argmax(1) == y).sum().item()
    print(f'{epoch}: loss {loss.item():.3f} acc {ok / len(test):.3f} lr {sched.get_last_lr()[0]:.2e} {time.time() - t:.0f}s')
