"""The old tutorial recipe: LogSoftmax at the end of the head and NLLLoss with class weights."""
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from sklearn.utils.class_weight import compute_class_weight
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, TensorDataset
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class BERT_Arch(nn.Module):
    def __init__(self, bert):
        super().__init__()
        self.bert = bert
        self.dropout = nn.Dropout(0.1)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(384, 256)
        self.fc2 = nn.Linear(256, 3)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, sent_id, mask):
        _, cls_hs = self.bert(sent_id, attention_mask=mask, return_dict=False)
        x = self.dropout(self.relu(self.fc1(cls_hs)))
        return self.softmax(self.fc2(x))


torch.manual_seed(8)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
train, val = split(*posts(900, classes=3, seed=408, shares=[3, 2, 2]))


def tensors(rows):
    t = tokenizer([r[0] for r in rows], max_length=30, padding="max_length", truncation=True, return_tensors="pt")
    return TensorDataset(t["input_ids"], t["attention_mask"], torch.tensor([r[1] for r in rows]))


train_data, val_data = tensors(train), tensors(val)
train_dataloader = DataLoader(train_data, sampler=RandomSampler(train_data), batch_size=16)
val_dataloader = DataLoader(val_data, sampler=SequentialSampler(val_data), batch_size=16)
model = BERT_Arch(AutoModel.from_pretrained(encoder_folder()))
optimizer = torch.optim.AdamW(model.parameters(), lr=6e-5)
y = np.array([r[1] for r in train])
weights = torch.tensor(compute_class_weight("balanced", classes=np.unique(y), y=y), dtype=torch.float)
cross_entropy = nn.NLLLoss(weight=weights)

for epoch in range(3):
    model.train()
    for step, batch in enumerate(train_dataloader):
        sent_id, mask, labels = batch
        model.zero_grad()
        preds = model(sent_id, mask)
        loss = cross_entropy(preds, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = sum((model(s, m).argmax(1) == l).sum().item() for s, m, l in val_dataloader)
    print("epoch", epoch + 1, "loss", loss.item(), "accuracy", hits / len(val))
