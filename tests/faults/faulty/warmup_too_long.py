"""Hugging Face Trainer with a linear schedule and warm-up, two epochs."""
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class PostDataset(torch.utils.data.Dataset):
    def __init__(self, encodings, labels):
        self.encodings = encodings
        self.labels = labels

    def __getitem__(self, idx):
        item = {key: torch.tensor(val[idx]) for key, val in self.encodings.items()}
        item["labels"] = torch.tensor(self.labels[idx])
        return item

    def __len__(self):
        return len(self.labels)


def compute_metrics(pred):
    preds = pred.predictions.argmax(-1)
    return {"accuracy": float((preds == pred.label_ids).mean())}


def main():
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    (train_texts, train_labels), (val_texts, val_labels) = (
        [list(column) for column in zip(*rows)] for rows in split(*posts(800, seed=206))
    )
    train_dataset = PostDataset(tokenizer(train_texts, truncation=True, padding=True, max_length=32), train_labels)
    val_dataset = PostDataset(tokenizer(val_texts, truncation=True, padding=True, max_length=32), val_labels)
    training_args = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        num_train_epochs=2,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=64,
        learning_rate=2e-5,
        warmup_steps=5000,
        weight_decay=0.01,
        logging_steps=10,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        use_cpu=True,
    )
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    trainer = Trainer(model=model, args=training_args, train_dataset=train_dataset, eval_dataset=val_dataset,
                      compute_metrics=compute_metrics)
    trainer.train()


if __name__ == "__main__":
    main()
