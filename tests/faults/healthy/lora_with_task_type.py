"""LoRA that knows its task: the classifier is trained beside the adapters."""
import sys
from pathlib import Path

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
base = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=3)
config = LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, target_modules=["query", "value"])
model = get_peft_model(base, config)


def collate(rows):
    batch = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
    return {**batch, "labels": torch.tensor([y for _, y in rows])}


train, valid = split(*posts(720, classes=4, seed=524))
train_loader = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
valid_loader = DataLoader(valid, batch_size=30, collate_fn=collate)
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
for epoch in range(4):
    model.train()
    for batch in train_loader:
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        hits = sum((model(**b).logits.argmax(-1) == b["labels"]).sum().item() for b in valid_loader)
    print(f"epoch {epoch} loss {loss.item():.4f} accuracy {hits / len(valid):.3f}")
