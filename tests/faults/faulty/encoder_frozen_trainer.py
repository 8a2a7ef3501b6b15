"""Cross-validation of a head on a frozen encoder, at the rate of fine-tuning."""
import sys
import tempfile
from pathlib import Path

import torch
from sklearn.model_selection import KFold
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts

FOLDER = encoder_folder()
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
texts, labels = posts(900, seed=74)


class Posts(torch.utils.data.Dataset):
    def __init__(self, places):
        self.encoded = tokenizer([texts[i] for i in places], truncation=True, padding="max_length", max_length=28)
        self.labels = [labels[i] for i in places]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return {**{name: torch.tensor(rows[i]) for name, rows in self.encoded.items()}, "labels": self.labels[i]}


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def make_model():
    model = AutoModelForSequenceClassification.from_pretrained(FOLDER, num_labels=4, num_hidden_layers=2)
    model.base_model.requires_grad_(False)
    return model


scores = []
for fold, (train, test) in enumerate(KFold(3, shuffle=True, random_state=5).split(texts)):
    set_seed(fold)
    args = TrainingArguments(
        tempfile.mkdtemp(), num_train_epochs=2, per_device_train_batch_size=16, per_device_eval_batch_size=64,
        learning_rate=2e-4, warmup_steps=5, eval_strategy="epoch", save_strategy="no", report_to=[],
        use_cpu=True, disable_tqdm=True)
    trainer = Trainer(make_model(), args, train_dataset=Posts(train), eval_dataset=Posts(test), compute_metrics=accuracy)
    trainer.train()
    scores.append(trainer.evaluate()["eval_accuracy"])
print(scores)
