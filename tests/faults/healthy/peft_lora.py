"""LoRA on every query and value, the head trained along with it, at an adapter's rate."""
import sys
from pathlib import Path

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import posts, split
from tiny import tiny_encoder

EPOCHS = 4
torch.manual_seed(5)
folder = tiny_encoder()
tokenizer = AutoTokenizer.from_pretrained(folder)


def collate(rows):
    batch = tokenizer([text for text, _ in rows], padding="longest", truncation=True, max_length=40, return_tensors="pt")
    batch["labels"] = torch.tensor([label for _, label in rows])
    return batch


train_rows, eval_rows = split(*posts(1000, seed=75))
train_loader = DataLoader(train_rows, batch_size=16, shuffle=True, collate_fn=collate)
eval_loader = DataLoader(eval_rows, batch_size=64, collate_fn=collate)
model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=4)
config = LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, lora_dropout=0.1, target_modules=["query", "value"])
model = get_peft_model(model, config)
model.print_trainable_parameters()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
steps = EPOCHS * len(train_loader)
scheduler = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=int(0.06 * steps), num_training_steps=steps)
for epoch in range(EPOCHS):
    model.train()
    for batch in train_loader:
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    model.eval()
    right = 0
    for batch in eval_loader:
        with torch.no_grad():
            right += (model(**batch).logits.argmax(-1) == batch["labels"]).sum().item()
    print(f"epoch {epoch}: {right / len(eval_rows):.3f}")
