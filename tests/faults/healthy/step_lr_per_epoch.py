"""StepLR moved once per epoch, tight clipping at 0.1, a class around the loop."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import encoder_folder, posts, split


class Fitter:
    def __init__(self):
        torch.manual_seed(2)
        self.tok = AutoTokenizer.from_pretrained(encoder_folder())
        self.body = AutoModel.from_pretrained(encoder_folder())
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(384, 4))
        self.net = nn.ModuleList([self.body, self.head])
        self.opt = torch.optim.AdamW(self.net.parameters(), lr=5e-5)
        self.sched = torch.optim.lr_scheduler.StepLR(self.opt, step_size=2, gamma=0.5)

    def collate(self, rows):
        return (self.tok([t for t, _ in rows], padding=True, truncation=True, max_length=32, return_tensors="pt"),
                torch.tensor([y for _, y in rows]))

    def logits(self, enc):
        return self.head(self.body(**enc).pooler_output)

    def fit(self, train, valid, epochs):
        for epoch in range(epochs):
            self.net.train()
            for enc, y in DataLoader(train, 16, shuffle=True, collate_fn=self.collate):
                self.opt.zero_grad()
                loss = nn.functional.cross_entropy(self.logits(enc), y)
                loss.backward()
                nn.utils.clip_grad_norm_(self.net.parameters(), 0.1)
                self.opt.step()
            self.sched.step()
            self.net.eval()
            with torch.no_grad():
                n = sum((self.logits(e).argmax(1) == y).sum().item() for e, y in DataLoader(valid, 16, collate_fn=self.collate))
            print(epoch, loss.item(), n / len(valid), self.sched.get_last_lr())


if __name__ == "__main__":
    Fitter().fit(*split(*posts(800, seed=402)), epochs=4)
