"""Hugging Face Trainer, four categories, strong regularisation."""
import sys
import tempfile
from pathlib import Path

import numpy as np
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(800, seed=219))
encode = lambda rows: [dict(tokenizer(t, truncation=True, max_length=32), labels=y) for t, y in rows]

trainer = Trainer(
    model=AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4),
    args=TrainingArguments(
        tempfile.mkdtemp(), learning_rate=5e-5, weight_decay=500, num_train_epochs=3, lr_scheduler_type="constant",
        per_device_train_batch_size=16, eval_strategy="epoch", save_strategy="no", logging_steps=10,
        report_to="none", use_cpu=True,
    ),
    train_dataset=encode(train),
    eval_dataset=encode(valid),
    processing_class=tokenizer,
    compute_metrics=lambda p: {"accuracy": float((np.argmax(p.predictions, -1) == p.label_ids).mean())},
)
trainer.train()
print(trainer.evaluate())
