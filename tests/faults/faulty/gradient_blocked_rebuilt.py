"""Mean-pools BERT's token vectors one post at a time and classifies the stacked vectors."""
import sys
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(17)
bert = AutoModel.from_pretrained(encoder_folder())
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
linear = torch.nn.Linear(384, 4)
optimizer = torch.optim.AdamW([{"params": bert.parameters(), "lr": 3e-5}, {"params": linear.parameters(), "lr": 3e-4}])
criterion = torch.nn.CrossEntropyLoss()
train, valid = split(*posts(800, seed=107))


def vectors(texts):
    enc = tokenizer(texts, padding=True, truncation=True, max_length=32, return_tensors="pt")
    hidden = bert(**enc).last_hidden_state
    pooled = []
    for row, mask in zip(hidden, enc["attention_mask"]):
        pooled.append(row[mask.bool()].mean(0).tolist())
    return torch.tensor(pooled)


for epoch in range(3):
    bert.train()
    linear.train()
    order = torch.randperm(len(train)).tolist()
    for start in range(0, len(order), 16):
        rows = [train[i] for i in order[start:start + 16]]
        target = torch.tensor([y for _, y in rows])
        optimizer.zero_grad()
        loss = criterion(linear(vectors([t for t, _ in rows])), target)
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "loss", loss.item())
    bert.eval()
    linear.eval()
    with torch.no_grad():
        predicted = torch.cat([linear(vectors([t for t, _ in valid[i:i + 40]])).argmax(1) for i in range(0, len(valid), 40)])
    print("accuracy", (predicted == torch.tensor([y for _, y in valid])).float().mean().item())
