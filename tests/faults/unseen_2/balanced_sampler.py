# Rare-class detection. Data is 12:2:1:1 -> WeightedRandomSampler, macro F1, per-epoch StepLR
import sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import numpy as np
import torch
from sklearn.metrics import classification_report, f1_score
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from posts import NAMES, encoder_folder, posts, split

torch.manual_seed(13)
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(1100, seed=13, shares=[12, 2, 1, 1]))


class PostSet(Dataset):
    def __init__(self, rows):
        self.texts = [t for t, _ in rows]
        self.y = np.array([y for _, y in rows])

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        return self.texts[i], int(self.y[i])


def collate(items):
    t, y = zip(*items)
    return tok(list(t), padding=True, truncation=True, max_length=48, return_tensors="pt"), torch.tensor(y)


train_set, valid_set = PostSet(train), PostSet(valid)
weight = compute_class_weight("balanced", classes=np.arange(4), y=train_set.y)
sampler = WeightedRandomSampler(weight[train_set.y], num_samples=len(train_set), replacement=True)
train_loader = DataLoader(train_set, batch_size=16, sampler=sampler, collate_fn=collate)
valid_loader = DataLoader(valid_set, batch_size=50, shuffle=False, collate_fn=collate)

model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)   # per epoch
loss_fn = nn.CrossEntropyLoss()

for epoch in range(6):
    model.train()
    for step, (enc, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = loss_fn(model(**enc).logits, y)
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"epoch {epoch} step {step:3d} loss {loss.item():.3f}", flush=True)
    scheduler.step()
    model.eval()
    preds, refs = [], []
    with torch.no_grad():
        for enc, y in valid_loader:
            preds += model(**enc).logits.argmax(-1).tolist()
            refs += y.tolist()
    print(f"epoch {epoch} macro F1 {f1_score(refs, preds, average='macro'):.3f}")
print(classification_report(refs, preds, target_names=NAMES))
