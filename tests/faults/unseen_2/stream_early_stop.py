"""Streaming data set + early stopping with patience."""
import copy, random, sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import AutoModel, AutoTokenizer
from posts import encoder_folder, posts, split

tok = AutoTokenizer.from_pretrained(encoder_folder())


class Stream(IterableDataset):
    """Reads rows one by one through a shuffle buffer."""
    def __init__(self, rows, buffer=0):
        self.rows, self.buffer = rows, buffer

    def encode(self, row):
        e = tok(row[0], padding="max_length", truncation=True, max_length=40, return_tensors="pt")
        return e["input_ids"][0], e["attention_mask"][0], row[1]

    def __iter__(self):
        held = []
        for row in self.rows:
            if not self.buffer:
                yield self.encode(row)
                continue
            held.append(row)
            if len(held) > self.buffer:
                yield self.encode(held.pop(random.randrange(len(held))))
        random.shuffle(held)
        yield from map(self.encode, held)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(384, 128), nn.Tanh(), nn.Dropout(0.3), nn.Linear(128, 4))

    def forward(self, ids, mask):
        return self.head(self.bert(ids, mask).last_hidden_state[:, 0])


def evaluate(model, loader, loss_fn):
    model.eval
    total, right, n = 0.0, 0, 0
    with torch.no_grad():
        for ids, mask, y in loader:
            out = model(ids, mask)
            total += loss_fn(out, y).item() * len(y)
            right += (out.argmax(1) == y).sum().item()
            n += len(y)
    return total / n, right / n


random.seed(4); torch.manual_seed(4)
train, valid = split(*posts(640, seed=88))
train_loader, valid_loader = DataLoader(Stream(train, buffer=200), 16), DataLoader(Stream(valid), 32)
model, loss_fn = Net(), nn.CrossEntropyLoss()
opt = torch.optim.AdamW([{"params": model.bert.parameters(), "lr": 1e-4}, {"params": model.head.parameters(), "lr": 1e-3}])
best, patience, bad = float("inf"), 3, 0
for epoch in range(20):
    model.train()
    for ids, mask, y in train_loader:
        loss = loss_fn(model(ids, mask), y)
        opt.zero_grad(); loss.backward(); opt.step()
    val_loss, val_acc = evaluate(model, valid_loader, loss_fn)
    print(f"epoch {epoch} train {loss.item():.3f} val {val_loss:.3f} acc {val_acc:.3f}", flush=True)
    if val_loss < best:
        best, bad, state = val_loss, 0, copy.deepcopy(model.state_dict())
    else:
        bad += 1
        if bad == patience:
            print("early stop"); break
model.load_state_dict(state)
