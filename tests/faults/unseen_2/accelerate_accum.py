"""accelerate run: batch 8 x 4 accumulation = 32."""
import sys

sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_scheduler

from posts import encoder_folder, posts, split

EPOCHS = 6
ACCUM = 4
BATCH = 8
LR = 1.5e-4


def main():
    set_seed(1234)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUM)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)

    def collate(rows):
        enc = tokenizer([r[0] for r in rows], padding=True, truncation=True, max_length=64, return_tensors="pt")
        enc["labels"] = torch.tensor([r[1] for r in rows])
        return enc

    train, valid = split(*posts(1000, seed=1234))
    train_loader = DataLoader(train, BATCH, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, 50, collate_fn=collate)

    no_decay = ("bias", "LayerNorm.weight")
    groups = [
        {"params": [p for n, p in model.named_parameters() if not n.endswith(no_decay)], "weight_decay": 0.01},
        {"params": [p for n, p in model.named_parameters() if n.endswith(no_decay)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR)
    model, optimizer, train_loader, valid_loader = accelerator.prepare(model, optimizer, train_loader, valid_loader)

    updates = EPOCHS * len(train_loader) // ACCUM
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=updates // 20, num_training_steps=updates)

    for epoch in range(EPOCHS):
        model.train()
        for step, batch in enumerate(train_loader):
            with accelerator.accumulate(model):
                loss = model(**batch).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            if step % 20 == 0:
                accelerator.print(f"epoch {epoch} step {step} loss {loss.item():.3f}")
        model.eval()
        right = total = 0
        for batch in valid_loader:
            with torch.no_grad():
                logits = model(**batch).logits
            pred, ref = accelerator.gather_for_metrics((logits.argmax(-1), batch["labels"]))
            right += (pred == ref).sum().item()
            total += len(ref)
        accelerator.print(f"epoch {epoch} accuracy {right / total:.3f}")


if __name__ == "__main__":
    main()
