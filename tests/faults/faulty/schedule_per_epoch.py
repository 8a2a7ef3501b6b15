"""Fine-tunes BERT for two epochs with a linear schedule and warm-up; train and validation functions apart."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class PostSet(Dataset):
    def __init__(self, rows, tokenizer, max_len=28):
        self.rows, self.tokenizer, self.max_len = rows, tokenizer, max_len

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        text, label = self.rows[i]
        e = self.tokenizer(text, max_length=self.max_len, padding="max_length", truncation=True, return_tensors="pt")
        return e["input_ids"][0], e["attention_mask"][0], torch.tensor(label)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder())
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(384, 4)

    def forward(self, ids, mask):
        return self.out(self.drop(self.bert(ids, attention_mask=mask).pooler_output))


def train_one_epoch(model, loader, loss_fn, optimizer, scheduler):
    model.train()
    losses = []
    for ids, mask, y in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(ids, mask), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    scheduler.step()
    return sum(losses) / len(losses)


def evaluate(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(i, m).argmax(1) == y).float().mean().item() for i, m, y in loader) / len(loader)


if __name__ == "__main__":
    torch.manual_seed(42)
    tok = AutoTokenizer.from_pretrained(encoder_folder())
    tr, va = split(*posts(1000, seed=204))
    train_loader = DataLoader(PostSet(tr, tok), batch_size=16, shuffle=True)
    val_loader = DataLoader(PostSet(va, tok), batch_size=16)
    net = Net()
    opt = torch.optim.AdamW(net.parameters(), lr=3e-5)
    steps = len(train_loader) * 4
    sched = get_linear_schedule_with_warmup(opt, num_warmup_steps=int(0.1 * steps), num_training_steps=steps)
    for ep in range(4):
        print("epoch", ep, train_one_epoch(net, train_loader, nn.CrossEntropyLoss(), opt, sched), evaluate(net, val_loader))
