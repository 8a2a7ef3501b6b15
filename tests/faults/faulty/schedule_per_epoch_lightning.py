"""LightningModule; the schedule is handed over in a list, as in many notebooks."""
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import posts, split
from tiny import tiny_encoder


class Collate:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, rows):
        batch = self.tokenizer([text for text, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt")
        return batch["input_ids"], batch["attention_mask"], torch.tensor([label for _, label in rows])


class Subjects(pl.LightningModule):
    def __init__(self, folder, steps, lr=1e-3):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(folder)
        self.encoder.embeddings.requires_grad_(False)
        self.encoder.encoder.layer[0].requires_grad_(False)
        self.encoder.train()
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(64, 4))
        self.steps, self.lr = steps, lr

    def forward(self, ids, mask):
        return self.head(self.encoder(ids, attention_mask=mask).pooler_output)

    def training_step(self, batch, batch_idx):
        ids, mask, y = batch
        loss = nn.functional.cross_entropy(self(ids, mask), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        ids, mask, y = batch
        self.log("val_acc", (self(ids, mask).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        scheduler = get_linear_schedule_with_warmup(optimizer, self.steps // 10, self.steps)
        return [optimizer], [scheduler]


if __name__ == "__main__":
    pl.seed_everything(1)
    folder = tiny_encoder()
    train_rows, valid_rows = split(*posts(1000, seed=71))
    collate = Collate(AutoTokenizer.from_pretrained(folder))
    train_dl = DataLoader(train_rows, batch_size=16, shuffle=True, collate_fn=collate)
    val_dl = DataLoader(valid_rows, batch_size=64, collate_fn=collate)
    trainer = pl.Trainer(max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, gradient_clip_val=1.0)
    trainer.fit(Subjects(folder, steps=len(train_dl) * 4), train_dl, val_dl)
    print(trainer.callback_metrics)
