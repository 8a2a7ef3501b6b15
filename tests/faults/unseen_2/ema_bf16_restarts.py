"""EMA weights, bf16 autocast, accumulation, SGDR (cosine with warm restarts, per update)."""
import sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from posts import encoder_folder, posts, split

torch.manual_seed(23)
ACCUM, EPOCHS = 3, 6
tok = AutoTokenizer.from_pretrained(encoder_folder())


def collate(rows):
    enc = tok([t for t, _ in rows], padding=True, truncation=True, max_length=64, return_tensors="pt")
    return enc, torch.tensor([y for _, y in rows])


train, valid = split(*posts(1000, seed=23))
train_dl = DataLoader(train, 8, shuffle=True, drop_last=True, collate_fn=collate)
valid_dl = DataLoader(valid, 50, collate_fn=collate)

model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, classifier_dropout=0.2)
model.gradient_checkpointing_enable({"use_reentrant": False})
ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.95))
ema.eval()
opt = torch.optim.AdamW(model.parameters(), lr=2e-4, betas=(0.9, 0.98), weight_decay=0.05)
sched = CosineAnnealingWarmRestarts(opt, T_0=10, T_mult=2)
criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)

for epoch in range(EPOCHS):
    model.train()
    shown = 0.0
    for k, (enc, y) in enumerate(train_dl, start=1):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = criterion(model(**enc).logits, y) / ACCUM
        loss.backward()
        shown += loss.item()
        if k % ACCUM == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            opt.zero_grad()
            sched.step()
            ema.update_parameters(model)
            if k % (ACCUM * 5) == 0:
                print(f"epoch {epoch} micro-step {k} loss {shown / 5:.3f} lr {sched.get_last_lr()[0]:.1e}", flush=True)
                shown = 0.0
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        acc = torch.cat([ema(**e).logits.argmax(1) == y for e, y in valid_dl]).float().mean().item()
    print(f"epoch {epoch}: EMA accuracy {acc:.3f}")
