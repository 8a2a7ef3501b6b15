"""Mean pooling over BertModel's tokens: its pooler is there and in the optimizer, but nothing uses it."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import BertModel, BertTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class MeanPool(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = BertModel.from_pretrained(encoder_folder())
        self.norm = nn.LayerNorm(384)
        self.out = nn.Linear(384, 4)

    def forward(self, input_ids, attention_mask, labels=None):
        h = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        m = attention_mask[:, :, None].to(h.dtype)
        logits = self.out(self.norm((h * m).sum(1) / m.sum(1).clamp(min=1)))
        return (nn.functional.cross_entropy(logits, labels), logits) if labels is not None else logits


if __name__ == "__main__":
    torch.manual_seed(19)
    tok = BertTokenizerFast.from_pretrained(encoder_folder())
    train, valid = split(*posts(800, seed=419))

    def collate(rows):
        e = tok([t for t, _ in rows], padding="longest", truncation=True, max_length=32, return_tensors="pt",
                return_token_type_ids=False)
        return {**e, "labels": torch.tensor([y for _, y in rows])}

    model = MeanPool()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-5)
    for epoch in range(3):
        model.train()
        for batch in DataLoader(train, 16, shuffle=True, collate_fn=collate):
            optimizer.zero_grad()
            loss, _ = model(**batch)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            n = sum((model(**b)[1].argmax(1) == b["labels"]).sum().item() for b in DataLoader(valid, 16, collate_fn=collate))
        print(f"epoch {epoch} loss {loss.item():.3f} accuracy {n / len(valid):.3f}")
