"""ignite: a head on a frozen encoder, at the rate of fine-tuning."""
import sys
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Accuracy
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_cosine_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

EPOCHS, LR = 4, 2e-4


def encoded(tokenizer, rows):
    e = tokenizer([text for text, _ in rows], padding="max_length", truncation=True, max_length=28, return_tensors="pt")
    return TensorDataset(e["input_ids"], e["attention_mask"], torch.tensor([label for _, label in rows]))


def main():
    torch.manual_seed(2)
    folder = encoder_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    train_rows, valid_rows = split(*posts(1000, seed=72))
    train_loader = DataLoader(encoded(tokenizer, train_rows), batch_size=16, shuffle=True)
    valid_loader = DataLoader(encoded(tokenizer, valid_rows), batch_size=32)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=4, num_hidden_layers=2)
    for parameter in model.bert.parameters():
        parameter.requires_grad = False
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    steps = len(train_loader) * EPOCHS
    scheduler = get_cosine_schedule_with_warmup(optimizer, int(0.1 * steps), steps)

    def update(engine, batch):
        model.train()
        ids, mask, y = batch
        optimizer.zero_grad()
        loss = model(input_ids=ids, attention_mask=mask, labels=y).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer(engine, batch):
        model.eval()
        ids, mask, y = batch
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=mask).logits, y

    trainer, evaluator = Engine(update), Engine(infer)
    Accuracy().attach(evaluator, "accuracy")

    @trainer.on(Events.ITERATION_COMPLETED)
    def move_rate():
        scheduler.step()

    @trainer.on(Events.STARTED | Events.EPOCH_COMPLETED)
    def validate(engine):
        print(engine.state.epoch, evaluator.run(valid_loader).metrics)

    trainer.run(train_loader, max_epochs=EPOCHS)


if __name__ == "__main__":
    main()
