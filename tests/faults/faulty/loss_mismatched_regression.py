"""num_labels is left at 1: transformers makes a regression on the topics' numbers."""
import sys
from pathlib import Path

import torch
from sklearn.metrics import accuracy_score
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

def main():
    torch.manual_seed(4)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=1, num_hidden_layers=2)
    train, valid = split(*posts(720, classes=4, seed=512))

    def collate(rows):
        batch = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        batch["labels"] = torch.tensor([y for _, y in rows], dtype=torch.float)
        return batch

    train_loader = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
    valid_loader = DataLoader(valid, batch_size=30, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    for epoch in range(3):
        model.train()
        for batch in train_loader:
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        guesses, truth = [], []
        with torch.no_grad():
            for batch in valid_loader:
                guesses += model(**batch).logits.argmax(dim=-1).tolist()
                truth += batch["labels"].long().tolist()
        print(f"epoch {epoch}: loss {loss.item():.4f}, accuracy {accuracy_score(truth, guesses):.3f}")


if __name__ == "__main__":
    main()
