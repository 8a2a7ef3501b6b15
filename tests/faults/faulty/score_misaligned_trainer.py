"""Trainer, then predict() on a test set that was shuffled for it, scored with the order of the file."""
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, f1_score
from transformers import (AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer,
                          TrainingArguments)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(53)
tok = AutoTokenizer.from_pretrained(encoder_folder())
train, test = split(*posts(800, seed=503))


def features(rows):
    return [dict(tok(t, truncation=True, max_length=32), label=y) for t, y in rows]


shuffled = random.Random(3).sample(test, len(test))
trainer = Trainer(
    model=AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4, num_hidden_layers=2),
    args=TrainingArguments(tempfile.mkdtemp(), num_train_epochs=2, per_device_train_batch_size=16, learning_rate=1e-4,
                           per_device_eval_batch_size=50, save_strategy="no", report_to="none", disable_tqdm=True,
                           use_cpu=True),
    train_dataset=features(train), data_collator=DataCollatorWithPadding(tok))
trainer.train()
predicted = np.argmax(trainer.predict(features(shuffled)).predictions, axis=1)
labels = [y for _, y in test]
print(f1_score(labels, predicted, average="macro"))
print(confusion_matrix(labels, predicted))
