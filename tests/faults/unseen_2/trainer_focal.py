import sys, tempfile
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import numpy as np
import torch
import torch.nn.functional as F
from transformers import (AutoModelForSequenceClassification, AutoTokenizer, EarlyStoppingCallback, Trainer,
                          TrainingArguments, default_data_collator, set_seed)
from posts import posts, split, encoder_folder

set_seed(42)
GAMMA = 2.0
texts, labels = posts(1000, classes=3, seed=3, shares=[3, 2, 2])
train, test = split(texts, labels, seed=9)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())


def encode(rows):
    enc = tokenizer([t for t, _ in rows], padding="max_length", truncation=True, max_length=40)
    return [dict(input_ids=i, attention_mask=a, token_type_ids=s, labels=y) for i, a, s, (_, y) in
            zip(enc["input_ids"], enc["attention_mask"], enc["token_type_ids"], rows)]


class FocalTrainer(Trainer):
    """Focal loss (Lin et al. 2017): easy examples count less."""

    def __init__(self, *args, alpha=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.alpha = alpha

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        log_p = F.log_softmax(outputs.logits, dim=-1).gather(1, labels[:, None]).squeeze(1)
        p = log_p.exp()
        weight = self.alpha[labels] if self.alpha is not None else 1.0
        loss = (weight * (1 - p) ** GAMMA * log_p).mean()
        return (loss, outputs) if return_outputs else loss


counts = np.bincount([y for _, y in train])
alpha = torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float)
model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=3)
args = TrainingArguments(tempfile.mkdtemp(), num_train_epochs=5, per_device_train_batch_size=16, learning_rate=1e-4,
                         eval_strategy="epoch", save_strategy="epoch", save_total_limit=1, load_best_model_at_end=True,
                         metric_for_best_model="accuracy", logging_steps=10, warmup_steps=15, report_to="none",
                         use_cpu=True, dataloader_pin_memory=False, save_only_model=True)
trainer = FocalTrainer(model=model, args=args, train_dataset=encode(train), eval_dataset=encode(test),
                       data_collator=default_data_collator, alpha=alpha,
                       compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
                       callbacks=[EarlyStoppingCallback(2)])
trainer.train()
print(trainer.evaluate())
