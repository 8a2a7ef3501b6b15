"""Hugging Face Trainer on a CSV with the columns id, text, annotator, label."""
import csv
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts

work = Path(tempfile.mkdtemp())
rng = random.Random(9)
with open(work / "all.csv", "w", newline="", encoding="utf-8") as f:
    out = csv.writer(f)
    for i, (text, label) in enumerate(zip(*posts(900, seed=31))):
        out.writerow([i, text, rng.randrange(4), label])

with open(work / "all.csv", encoding="utf-8") as f:
    rows = list(csv.reader(f))

tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


def encode(part):
    out = []
    for row in part:
        item = tokenizer(row[1], truncation=True, max_length=32)
        item["labels"] = int(row[2])
        out.append(item)
    return out


args = TrainingArguments(
    output_dir=str(work / "out"),
    num_train_epochs=3,
    per_device_train_batch_size=16,
    learning_rate=5e-5,
    eval_strategy="epoch",
    save_strategy="no",
    logging_steps=10,
    report_to="none",
    use_cpu=True,
    seed=4,
)
trainer = Trainer(
    model=AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4),
    args=args,
    train_dataset=encode(rows[:700]),
    eval_dataset=encode(rows[700:]),
    processing_class=tokenizer,
    compute_metrics=lambda p: {"accuracy": float((np.argmax(p.predictions, -1) == p.label_ids).mean())},
)
trainer.train()
print(trainer.evaluate())
