"""Hugging Face Trainer with nearly everything at its default."""
import sys
import tempfile
from pathlib import Path

from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
train, valid = split(*posts(1000, seed=417))


def encoded(rows):
    return [dict(tokenizer(text), labels=label) for text, label in rows]


trainer = Trainer(
    model=AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4),
    args=TrainingArguments(tempfile.mkdtemp(), report_to="none", save_strategy="no"),
    train_dataset=encoded(train),
    eval_dataset=encoded(valid),
    processing_class=tokenizer,
)
trainer.train()
print(trainer.evaluate())
