"""Hugging Face Trainer: three epochs over 600 posts with a careful learning rate."""
import sys
import tempfile
from pathlib import Path

import numpy as np
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
train, valid = split(*posts(800, seed=203))


def features(rows):
    return [{**tokenizer(t, truncation=True, max_length=32), "label": y} for t, y in rows]


def metrics(pred):
    logits, labels = pred
    return {"acc": float((np.argmax(logits, axis=-1) == labels).mean())}


training_args = TrainingArguments(
    output_dir=tempfile.mkdtemp(prefix="run_"),
    learning_rate=1e-7,
    per_device_train_batch_size=16,
    per_device_eval_batch_size=32,
    num_train_epochs=3,
    lr_scheduler_type="constant",
    logging_steps=5,
    eval_strategy="epoch",
    save_strategy="no",
    report_to=[],
    use_cpu=True,
)
trainer = Trainer(
    model=model,
    args=training_args,
    train_dataset=features(train),
    eval_dataset=features(valid),
    data_collator=DataCollatorWithPadding(tokenizer),
    compute_metrics=metrics,
)
trainer.train()
