"""Multi-label tagging with the HF Trainer; rare tags get a positive weight."""
import sys
import tempfile

sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import numpy as np
import torch
from sklearn.metrics import f1_score
from transformers import AutoConfig, AutoModel, AutoTokenizer, Trainer, TrainingArguments, set_seed

from posts import encoder_folder, posts

set_seed(8)
N = 4
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


def documents(n, seed):
    """One to three posts glued together; every topic that occurs is a tag."""
    texts, labels = posts(3 * n, classes=N, seed=seed, shares=[6, 3, 2, 1])
    rng = np.random.default_rng(seed)
    rows, at = [], 0
    for _ in range(n):
        k = int(rng.integers(1, 4))
        tags = np.zeros(N, dtype=np.float32)
        tags[labels[at:at + k]] = 1
        enc = tokenizer(". ".join(texts[at:at + k]), truncation=True, max_length=96)
        rows.append({"input_ids": enc["input_ids"], "attention_mask": enc["attention_mask"], "labels": tags})
        at += k
    return rows


def collate(rows):
    batch = tokenizer.pad([{k: r[k] for k in ("input_ids", "attention_mask")} for r in rows], return_tensors="pt")
    batch["labels"] = torch.tensor(np.stack([r["labels"] for r in rows]))
    return batch


class Tagger(torch.nn.Module):
    def __init__(self, pos_weight):
        super().__init__()
        self.bert = AutoModel.from_pretrained(encoder_folder(), add_pooling_layer=False)
        self.out = torch.nn.Linear(384, N)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input_ids, attention_mask, labels=None):
        h = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
        m = attention_mask.unsqueeze(-1)
        logits = self.out((h * m).sum(1) / m.sum(1))
        loss = None
        if labels is not None:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=self.pos_weight)
        return {"loss": loss, "logits": logits}


def metrics(p):
    return {"micro_f1": f1_score(p.label_ids, p.predictions > 0, average="micro", zero_division=0),
            "macro_f1": f1_score(p.label_ids, p.predictions > 0, average="macro", zero_division=0)}


rows = documents(800, seed=15)
train, valid = rows[:640], rows[640:]
share = np.mean([r["labels"] for r in train], axis=0)
model = Tagger(torch.tensor((1 - share) / share).clamp(max=5))
args = TrainingArguments(tempfile.mkdtemp(), num_train_epochs=5, per_device_train_batch_size=16, learning_rate=2e-4,
                         lr_scheduler_type="cosine", warmup_steps=10, eval_strategy="epoch", save_strategy="no",
                         logging_steps=10, report_to="none", use_cpu=True, dataloader_pin_memory=False)
Trainer(model=model, args=args, train_dataset=train, eval_dataset=valid, data_collator=collate,
        compute_metrics=metrics).train()
