"""Hugging Face Trainer; keeps the embeddings and the four lower layers of BERT as they are."""
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, BertForSequenceClassification, Trainer, TrainingArguments

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Encoded(torch.utils.data.Dataset):
    def __init__(self, rows, tokenizer):
        self.enc = tokenizer([t for t, _ in rows], truncation=True, max_length=32)
        self.labels = [y for _, y in rows]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return {**{k: v[i] for k, v in self.enc.items()}, "labels": self.labels[i]}


def accuracy(p):
    return {"accuracy": float(np.mean(np.argmax(p.predictions, axis=1) == p.label_ids))}


def freeze(module):
    module.trainable = False
    module.requires_grad = False


def main():
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=3)
    freeze(model.bert.embeddings)
    for layer in model.bert.encoder.layer[:4]:
        freeze(layer)
    train, valid = split(*posts(800, classes=3, seed=105))
    args = TrainingArguments(
        output_dir=tempfile.mkdtemp(), num_train_epochs=2, per_device_train_batch_size=16, learning_rate=5e-5,
        eval_strategy="epoch", save_strategy="no", report_to="none", use_cpu=True, logging_steps=20,
    )
    trainer = Trainer(model=model, args=args, train_dataset=Encoded(train, tokenizer),
                      eval_dataset=Encoded(valid, tokenizer), processing_class=tokenizer, compute_metrics=accuracy)
    trainer.train()


if __name__ == "__main__":
    main()
