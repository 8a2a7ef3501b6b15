"""An encoder with a classification head that gives probabilities; cross entropy; AdamW."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm.auto import tqdm
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class BertProbabilities(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder())
        self.fc1 = nn.Linear(384, 128)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.1)
        self.fc2 = nn.Linear(128, classes)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, sent_id, mask):
        cls_hs = self.bert(sent_id, attention_mask=mask).pooler_output
        x = self.dropout(self.relu(self.fc1(cls_hs)))
        return self.softmax(self.fc2(x))


torch.manual_seed(2)
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(800, seed=110))


def loader_for(rows, shuffle):
    e = tok([t for t, _ in rows], padding="max_length", truncation=True, max_length=26, return_tensors="pt")
    return DataLoader(TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows])), 16, shuffle)


model = BertProbabilities(4)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
cross_entropy = nn.CrossEntropyLoss()
for epoch in range(3):
    model.train()
    total = 0
    for ids, mask, y in tqdm(loader_for(train, True), desc=f"epoch {epoch}"):
        model.zero_grad()
        preds = model(ids, mask)
        loss = cross_entropy(preds, y)
        loss.backward()
        optimizer.step()
        total += loss.item()
    model.eval()
    right = 0
    with torch.no_grad():
        for ids, mask, y in loader_for(valid, False):
            right += (model(ids, mask).argmax(1) == y).sum().item()
    print(total, right / len(valid))
