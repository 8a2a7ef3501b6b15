"""Trains a BERT classifier with an attention mask computed from the padded ids."""
import sys
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BertForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split

torch.manual_seed(3)
tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
PAD = tokenizer.pad_token_id


def collate(rows):
    ids = [torch.tensor(tokenizer.encode(text, truncation=True, max_length=32)) for text, _ in rows]
    ids = pad_sequence(ids, batch_first=True, padding_value=PAD)
    ids = torch.nn.functional.pad(ids, (0, 32 - ids.size(1)), value=PAD)
    mask = (ids == PAD).long()
    return ids, mask, torch.tensor([label for _, label in rows])


train, valid = split(*posts(800, seed=92))
model = BertForSequenceClassification.from_pretrained(encoder_folder(), num_labels=4)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
loader = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
val_loader = DataLoader(valid, batch_size=16, collate_fn=collate)

for epoch in range(3):
    model.train()
    for ids, mask, y in loader:
        loss = model(input_ids=ids, attention_mask=mask, labels=y).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print("epoch", epoch, "last loss", loss.item())
    model.eval()
    with torch.no_grad():
        n = sum((model(input_ids=i, attention_mask=m).logits.argmax(1) == y).sum().item() for i, m, y in val_loader)
    print("acc", n / len(valid))
