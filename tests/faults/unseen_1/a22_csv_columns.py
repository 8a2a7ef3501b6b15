"""Reads tickets from a CSV with ticket number, subject, body and queue, and trains with the Trainer."""
import csv
import io
import tempfile

import numpy as np
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from corpus import QUEUES, encoder, tickets

file = io.StringIO()
writer = csv.writer(file)
writer.writerow(["number", "subject", "body", "queue"])
for i, (text, queue) in enumerate(tickets(800, seed=22)):
    writer.writerow([1000 + i, "Message from the contact form", text, queue])
file.seek(0)

names = list(QUEUES)
tok = AutoTokenizer.from_pretrained(encoder())
items = []
for row in csv.reader(file):
    if row[0] == "number":
        continue
    items.append({**tok(row[1], truncation=True, max_length=40), "labels": names.index(row[3])})

Trainer(
    model=AutoModelForSequenceClassification.from_pretrained(encoder(), num_labels=5),
    args=TrainingArguments(tempfile.mkdtemp(), num_train_epochs=3, per_device_train_batch_size=16, learning_rate=5e-5,
                           eval_strategy="epoch", save_strategy="no", report_to="none", logging_steps=10, use_cpu=True),
    train_dataset=items[:600], eval_dataset=items[600:], processing_class=tok,
    compute_metrics=lambda p: {"acc": float((np.argmax(p.predictions, 1) == p.label_ids).mean())},
).train()
