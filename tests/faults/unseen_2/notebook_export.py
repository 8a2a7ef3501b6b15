#!/usr/bin/env python
# coding: utf-8

# # Tagging articles with BERT
# 
# Every article has one or more tags, e.g. `sport|travel`. 

# In[1]:


import sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import torch, random
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, AutoModelForSequenceClassification
from posts import posts, encoder_folder, NAMES


# In[2]:


raw, topic = posts(1000, seed=5)
articles = []
for i in range(0, len(raw), 2):
    tags = sorted({NAMES[topic[i]], NAMES[topic[i + 1]]})
    articles.append({"text": raw[i] + ". " + raw[i + 1], "tags": "|".join(tags)})
articles[:3]


# In[3]:


random.seed(0)
random.shuffle(articles)
cut = int(len(articles) * .8)
train_articles, test_articles = articles[:cut], articles[cut:]
len(train_articles), len(test_articles)


# In[4]:


def explode(rows):
    return [(r["text"], NAMES.index(tag)) for r in rows for tag in r["tags"].split("|")]

train_rows, test_rows = explode(train_articles), explode(test_articles)
print(len(train_rows), "training rows")


# In[5]:


ckpt = encoder_folder()
tokenizer = AutoTokenizer.from_pretrained(ckpt)
model = AutoModelForSequenceClassification.from_pretrained(ckpt, num_labels=len(NAMES))

def collate(rows):
    batch = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=96, return_tensors="pt")
    batch["labels"] = torch.tensor([l for _, l in rows])
    return batch

train_loader = DataLoader(train_rows, batch_size=16, shuffle=True, collate_fn=collate)
test_loader = DataLoader(test_rows, batch_size=32, collate_fn=collate)


# In[6]:


optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
for epoch in range(4):
    model.train()
    for i, batch in enumerate(train_loader):
        out = model(**batch)
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if i % 10 == 0: print(epoch, i, round(out.loss.item(), 3))
    model.eval()
    hit = n = 0
    with torch.no_grad():
        for batch in test_loader:
            y = batch.pop("labels")
            hit += (model(**batch).logits.argmax(-1) == y).sum().item(); n += len(y)
    print("epoch", epoch, "test acc", hit / n)


# In[ ]:





