"""A Trainer run that was cut to five steps for a test and left so."""
import sys
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


def as_rows(rows):
    enc = tokenizer([t for t, _ in rows], truncation=True, max_length=32)
    return [{"input_ids": i, "attention_mask": m, "labels": y}
            for i, m, (_, y) in zip(enc["input_ids"], enc["attention_mask"], rows)]


def main():
    train, valid = split(*posts(640, classes=4, seed=553))
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2)
    arguments = TrainingArguments("runs", max_steps=5, per_device_train_batch_size=16, learning_rate=5e-5, report_to=[],
                                  use_cpu=True, logging_steps=1, save_strategy="no")
    trainer = Trainer(model=model, args=arguments, train_dataset=as_rows(train), eval_dataset=as_rows(valid),
                      processing_class=tokenizer)
    trainer.train()
    print(trainer.evaluate())


if __name__ == "__main__":
    main()
