"""A subclass of Trainer with its own compute_loss (class weights), label smoothing off, warm-up and cosine."""
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class WeightedTrainer(Trainer):
    class_weights = torch.tensor([0.6, 1.0, 1.7])

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = torch.nn.functional.cross_entropy(outputs.logits, labels, weight=self.class_weights)
        inputs["labels"] = labels
        return (loss, outputs) if return_outputs else loss


def main():
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    train, valid = split(*posts(900, classes=3, seed=418, shares=[5, 3, 2]))
    make = lambda rows: [dict(tokenizer(t, truncation=True, max_length=32), labels=y) for t, y in rows]
    args = TrainingArguments(
        output_dir=tempfile.mkdtemp(), learning_rate=6e-5, warmup_steps=12, lr_scheduler_type="cosine",
        num_train_epochs=3, per_device_train_batch_size=8, gradient_accumulation_steps=2, max_grad_norm=0.5,
        eval_strategy="steps", eval_steps=15, save_strategy="no", report_to="none", use_cpu=True, logging_steps=5,
    )
    WeightedTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=3),
        args=args, train_dataset=make(train), eval_dataset=make(valid), processing_class=tokenizer,
        compute_metrics=lambda p: {"accuracy": float((np.argmax(p.predictions, -1) == p.label_ids).mean())},
    ).train()


if __name__ == "__main__":
    main()
