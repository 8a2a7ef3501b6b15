"""Layer-wise learning rates, bf16 to fit next to the web service on one box."""
import sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup
from posts import encoder_folder, posts, split

LOAD = {"dtype": torch.bfloat16, "low_cpu_mem_usage": True}
TOP_LR, DECAY, HEAD_LR, EPOCHS = 2e-5, 0.9, 5e-4, 8
torch.manual_seed(77)


class Classifier(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(encoder_folder(), **LOAD)
        self.norm = nn.LayerNorm(384)
        self.head = nn.Linear(384, n)

    def forward(self, **enc):
        h = self.encoder(**enc).last_hidden_state.float()
        m = enc["attention_mask"].unsqueeze(-1)
        return self.head(self.norm((h * m).sum(1) / m.sum(1)))


def layerwise(model):
    groups = [{"params": [*model.norm.parameters(), *model.head.parameters()], "lr": HEAD_LR}]
    lr = TOP_LR
    for layer in reversed(model.encoder.encoder.layer):
        groups.append({"params": list(layer.parameters()), "lr": lr})
        lr *= DECAY
    groups.append({"params": list(model.encoder.embeddings.parameters()), "lr": lr})
    return groups


tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


def collate(rows):
    enc = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=64, return_tensors="pt")
    return enc, torch.tensor([y for _, y in rows])


train, valid = split(*posts(800, seed=55))
train_dl = DataLoader(train, 16, shuffle=True, collate_fn=collate)
valid_dl = DataLoader(valid, 40, collate_fn=collate)
model = Classifier(4)
optimizer = torch.optim.AdamW(layerwise(model), weight_decay=0.01)
steps = EPOCHS * len(train_dl)
scheduler = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)

for epoch in range(EPOCHS):
    model.train()
    for enc, y in train_dl:
        loss = nn.functional.cross_entropy(model(**enc), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
    model.eval()
    with torch.no_grad():
        good = sum((model(**e).argmax(1) == y).sum().item() for e, y in valid_dl)
    print(f"epoch {epoch}  loss {loss.item():.3f}  accuracy {good / len(valid):.3f}", flush=True)
