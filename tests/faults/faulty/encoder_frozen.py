"""Fine-tunes the upper layers of BERT on posts, the lower ones being left as they are."""
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoTokenizer, BertForSequenceClassification, get_linear_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

FROZEN = ["embeddings", "encoder.layer", "pooler"]
LR = 5e-5
EPOCHS = 3


def main():
    torch.manual_seed(21)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
    for name, parameter in model.named_parameters():
        if any(part in name for part in FROZEN):
            parameter.requires_grad = False

    def loader(rows, shuffle):
        enc = tokenizer([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        data = TensorDataset(enc["input_ids"], enc["attention_mask"], torch.tensor([y for _, y in rows]))
        return DataLoader(data, batch_size=16, shuffle=shuffle)

    train, valid = split(*posts(800, seed=103))
    train_loader, valid_loader = loader(train, True), loader(valid, False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR)
    total = EPOCHS * len(train_loader)
    scheduler = get_linear_schedule_with_warmup(optimizer, int(0.1 * total), total)
    for epoch in range(EPOCHS):
        model.train()
        losses = 0.0
        for ids, mask, labels in train_loader:
            optimizer.zero_grad()
            loss = model(ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses += loss.item()
        model.eval()
        right = 0
        with torch.no_grad():
            for ids, mask, labels in valid_loader:
                right += (model(ids, attention_mask=mask).logits.argmax(1) == labels).sum().item()
        print(f"Epoch {epoch + 1}: loss {losses / len(train_loader):.4f}, accuracy {right / len(valid):.4f}")


if __name__ == "__main__":
    main()
