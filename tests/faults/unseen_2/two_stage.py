"""Stage 1: linear probe on cached sentence vectors. Stage 2: everything, small rate, plateau schedule, early stop."""
import sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModel, AutoTokenizer
from posts import encoder_folder, posts, split

torch.manual_seed(7)
CLASSES, PROBE_EPOCHS, FULL_EPOCHS = 4, 10, 6
tok = AutoTokenizer.from_pretrained(encoder_folder())
encoder = AutoModel.from_pretrained(encoder_folder(), add_pooling_layer=False)
head = nn.Linear(384, CLASSES)


def tensors(rows):
    enc = tok([t for t, _ in rows], padding=True, truncation=True, max_length=64, return_tensors="pt")
    return TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor([y for _, y in rows]))


def embed(ids, mask):
    h = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return (h * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


@torch.no_grad()
def accuracy(loader):
    encoder.eval(); head.eval()
    hit = [head(embed(i, m)).argmax(1) == y for i, m, y in loader]
    return torch.cat(hit).float().mean().item()


train, valid = map(tensors, split(*posts(900, CLASSES, seed=71)))
valid_loader = DataLoader(valid, 75)

# ---- stage 1 -------------------------------------------------------------------------------------------
encoder.eval()
with torch.no_grad():
    cached = torch.cat([embed(i, m) for i, m, _ in DataLoader(train, 50)])
probe = DataLoader(TensorDataset(cached, train.tensors[2]), 32, shuffle=True)
opt = torch.optim.Adam(head.parameters(), lr=5e-3)
for epoch in range(PROBE_EPOCHS):
    for x, y in probe:
        opt.zero_grad()
        nn.functional.cross_entropy(head(x), y).backward()
        opt.step()
print(f"after the probe: {accuracy(valid_loader):.3f}", flush=True)

# ---- stage 2 -------------------------------------------------------------------------------------------
opt = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-5)
plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, mode="max", factor=0.3, patience=0)
best, waited = 0.0, 0
for epoch in range(FULL_EPOCHS):
    encoder.train(); head.train()
    for ids, mask, y in DataLoader(train, 16, shuffle=True):
        loss = nn.functional.cross_entropy(head(embed(ids, mask)), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    acc = accuracy(valid_loader)
    plateau.step(acc)
    print(f"epoch {epoch}: {loss.item():.3f} {acc:.3f} lr {opt.param_groups[0]['lr']:.1e}", flush=True)
    waited = 0 if acc > best else waited + 1
    best = max(best, acc)
    if waited == 2:
        break
