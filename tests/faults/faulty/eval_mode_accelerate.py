"""accelerate: everything prepared; the model is put into training mode before the loop."""
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, get_scheduler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import posts, split
from tiny import tiny_encoder


def features(tokenizer, rows):
    return [dict(tokenizer(text, truncation=True, max_length=32), labels=label) for text, label in rows]


def main(epochs=5, batch_size=8, accumulation=2, lr=1e-3):
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulation)
    set_seed(3)
    folder = tiny_encoder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=4)
    train_rows, eval_rows = split(*posts(1000, seed=73))
    collate = DataCollatorWithPadding(tokenizer)
    train_dataloader = DataLoader(features(tokenizer, train_rows), shuffle=True, batch_size=batch_size, collate_fn=collate)
    eval_dataloader = DataLoader(features(tokenizer, eval_rows), batch_size=64, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    max_steps = epochs * len(train_dataloader) // accumulation
    lr_scheduler = get_scheduler("linear", optimizer, num_warmup_steps=max_steps // 20, num_training_steps=max_steps)
    model, optimizer, train_dataloader, eval_dataloader, lr_scheduler = accelerator.prepare(
        model, optimizer, train_dataloader, eval_dataloader, lr_scheduler)
    model.train()
    for epoch in range(epochs):
        for batch in train_dataloader:
            with accelerator.accumulate(model):
                loss = model(**batch).loss
                accelerator.backward(loss)
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
        model.eval()
        right = 0
        for batch in eval_dataloader:
            with torch.no_grad():
                predictions = model(**batch).logits.argmax(-1)
            right += (accelerator.gather_for_metrics(predictions) == batch["labels"]).sum().item()
        accelerator.print(f"epoch {epoch}: accuracy {right / len(eval_rows):.3f}")


if __name__ == "__main__":
    main()
