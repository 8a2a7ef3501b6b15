"""Fine-tunes with a linear decay that is moved after every batch."""
import argparse
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification, get_scheduler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


def get_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--num_train_epochs", type=int, default=4)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--max_len", type=int, default=28)
    return parser.parse_args()


def main():
    args = get_args()
    torch.manual_seed(3)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    train, valid = split(*posts(900, seed=208))

    def dl(rows, shuffle):
        e = tokenizer([t for t, _ in rows], padding="max_length", truncation=True, max_length=args.max_len,
                      return_tensors="pt")
        return DataLoader(TensorDataset(e.input_ids, e.attention_mask, torch.tensor([y for _, y in rows])),
                          batch_size=16, shuffle=shuffle)

    train_dl, valid_dl = dl(train, True), dl(valid, False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate)
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=0, num_training_steps=args.num_train_epochs)
    for epoch in range(args.num_train_epochs):
        model.train()
        for step, (ids, mask, y) in enumerate(train_dl):
            loss = model(ids, attention_mask=mask, labels=y).loss
            loss.backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            if step % 10 == 0:
                print("epoch", epoch, "step", step, "loss", round(loss.item(), 4))
        model.eval()
        with torch.no_grad():
            ok = sum((model(i, attention_mask=m).logits.argmax(1) == y).sum().item() for i, m, y in valid_dl)
        print("validation accuracy", ok / len(valid))


if __name__ == "__main__":
    main()
