"""A Trainer for every fold, each around the same model; tables of the fold's rows."""
import sys
import tempfile
from pathlib import Path

import torch
from sklearn.metrics import accuracy_score
from sklearn.model_selection import KFold
from transformers import (AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer,
                          TrainingArguments)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts

torch.manual_seed(73)
name = encoder_folder()
tok, model = AutoTokenizer.from_pretrained(name), AutoModelForSequenceClassification.from_pretrained(
    name, num_labels=4, num_hidden_layers=2)
texts, labels = posts(700, seed=523)


def features(rows):
    return [dict(tok(texts[i], truncation=True, max_length=32), label=labels[i]) for i in rows]


for fold, (train, valid) in enumerate(KFold(4, shuffle=True, random_state=1).split(texts)):
    settings = TrainingArguments(tempfile.mkdtemp(), num_train_epochs=2, per_device_train_batch_size=16,
                                 learning_rate=1e-4, per_device_eval_batch_size=50, save_strategy="no",
                                 report_to="none", disable_tqdm=True, use_cpu=True)
    trainer = Trainer(model=model, args=settings, train_dataset=features(train), eval_dataset=features(valid),
                      data_collator=DataCollatorWithPadding(tok),
                      compute_metrics=lambda p: {"accuracy": accuracy_score(p.label_ids, p.predictions.argmax(-1))})
    trainer.train()
    print("fold", fold, trainer.evaluate())
