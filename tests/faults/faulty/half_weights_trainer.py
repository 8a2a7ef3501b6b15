"""Hugging Face Trainer with a model cast to bfloat16 beforehand."""
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def main():
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4).to(torch.bfloat16)
    train, valid = split(*posts(800, seed=305))
    train_set, valid_set = (
        [dict(tokenizer(text, truncation=True, max_length=32), labels=label) for text, label in rows]
        for rows in (train, valid)
    )

    def accuracy(p):
        return {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())}

    args = TrainingArguments(
        output_dir=tempfile.mkdtemp(), num_train_epochs=3, learning_rate=5e-6, per_device_train_batch_size=16,
        lr_scheduler_type="cosine", warmup_steps=10, eval_strategy="steps", eval_steps=40, save_strategy="no",
        report_to="none", use_cpu=True, logging_steps=10,
    )
    Trainer(model=model, args=args, train_dataset=train_set, eval_dataset=valid_set, processing_class=tokenizer,
            compute_metrics=accuracy).train()


if __name__ == "__main__":
    main()
