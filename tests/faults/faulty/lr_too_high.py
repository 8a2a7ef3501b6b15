"""Hugging Face Trainer, sequence classification of three categories."""
import sys
import tempfile
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def main():
    set_seed(42)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    train, valid = split(*posts(800, classes=3, seed=210))

    def prepare(rows):
        encoded = tokenizer([t for t, _ in rows], truncation=True, padding="max_length", max_length=28)
        return [
            {"input_ids": i, "attention_mask": m, "labels": y}
            for i, m, (_, y) in zip(encoded["input_ids"], encoded["attention_mask"], rows)
        ]

    args = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        learning_rate=1e-2,
        num_train_epochs=3,
        per_device_train_batch_size=16,
        weight_decay=0.01,
        eval_strategy="epoch",
        save_strategy="no",
        logging_steps=10,
        report_to="none",
        use_cpu=True,
    )
    trainer = Trainer(
        model=BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=3),
        args=args,
        train_dataset=prepare(train),
        eval_dataset=prepare(valid),
        compute_metrics=lambda p: {"accuracy": float((np.argmax(p.predictions, 1) == p.label_ids).mean())},
    )
    trainer.train()


if __name__ == "__main__":
    main()
