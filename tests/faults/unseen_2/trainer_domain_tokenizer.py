"""Fine-tune with the HF Trainer. Domain vocabulary: shorter sequences for our jargon."""
import sys
import tempfile

sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import numpy as np
from torch.utils.data import Dataset
from transformers import (AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer,
                          TrainingArguments, set_seed)

from posts import NAMES, encoder_folder, posts, split

set_seed(5)
CHECKPOINT = encoder_folder()

texts, labels = posts(1200, seed=77)
train_rows, valid_rows = split(texts, labels, share=0.2)

tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
tokenizer = tokenizer.train_new_from_iterator((t for t, _ in train_rows), vocab_size=1200)


class Rows(Dataset):
    def __init__(self, rows):
        self.enc = tokenizer([t for t, _ in rows], truncation=True, max_length=80)
        self.y = [y for _, y in rows]

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {"input_ids": self.enc["input_ids"][i], "attention_mask": self.enc["attention_mask"][i],
                "labels": self.y[i]}


def metrics(p):
    return {"accuracy": float((np.argmax(p.predictions, -1) == p.label_ids).mean())}


model = AutoModelForSequenceClassification.from_pretrained(
    CHECKPOINT, num_labels=4, id2label=dict(enumerate(NAMES)), label2id={n: i for i, n in enumerate(NAMES)})

args = TrainingArguments(
    output_dir=tempfile.mkdtemp(),
    num_train_epochs=4,
    per_device_train_batch_size=16,
    per_device_eval_batch_size=64,
    learning_rate=8e-5,
    warmup_steps=20,
    weight_decay=0.01,
    logging_steps=10,
    eval_strategy="epoch",
    save_strategy="no",
    report_to="none",
    use_cpu=True,
    dataloader_pin_memory=False,
)
trainer = Trainer(model=model, args=args, train_dataset=Rows(train_rows), eval_dataset=Rows(valid_rows),
                  data_collator=DataCollatorWithPadding(tokenizer), compute_metrics=metrics)
trainer.train()
print(trainer.evaluate())
