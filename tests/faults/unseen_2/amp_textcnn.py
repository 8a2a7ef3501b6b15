"""BERT + TextCNN, mixed precision."""
import sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader
from transformers import BertModel, BertTokenizerFast
from posts import encoder_folder, posts, split

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(6)


class BertCNN(nn.Module):
    def __init__(self, n_class, kernels=(2, 3, 4), filters=64):
        super().__init__()
        self.bert = BertModel.from_pretrained(encoder_folder(), add_pooling_layer=False)
        self.convs = nn.ModuleList(nn.Conv1d(384, filters, k, padding=1) for k in kernels)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(filters * len(kernels), n_class)

    def forward(self, ids, mask):
        h = self.bert(ids, attention_mask=mask).last_hidden_state * mask.unsqueeze(-1)
        h = h.transpose(1, 2)
        feats = [F.relu(conv(h)).amax(dim=2) for conv in self.convs]
        return self.fc(self.drop(torch.cat(feats, 1)))


class Runner:
    def __init__(self, epochs=5, bs=16, lr=5e-5, max_norm=1.0):
        self.tok = BertTokenizerFast.from_pretrained(encoder_folder())
        train, valid = split(*posts(800, seed=19))
        self.train = DataLoader(train, bs, shuffle=True, collate_fn=self.collate)
        self.valid = DataLoader(valid, 40, collate_fn=self.collate)
        self.model = BertCNN(4).to(DEVICE)
        self.opt = torch.optim.AdamW(self.model.parameters(), lr=lr)
        self.scaler = torch.amp.GradScaler(DEVICE)
        self.epochs, self.max_norm = epochs, max_norm

    def collate(self, rows):
        e = self.tok([t for t, _ in rows], padding=True, truncation=True, max_length=64, return_tensors="pt")
        return e["input_ids"], e["attention_mask"], torch.tensor([y for _, y in rows])

    def step(self, ids, mask, y):
        self.opt.zero_grad()
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            loss = F.cross_entropy(self.model(ids.to(DEVICE), mask.to(DEVICE)), y.to(DEVICE))
        self.scaler.scale(loss).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        self.scaler.unscale_(self.opt)
        self.scaler.step(self.opt)
        self.scaler.update()
        return loss.item()

    def run(self):
        for epoch in range(self.epochs):
            self.model.train()
            losses = []
            for batch in self.train:
                losses.append(self.step(*batch))
                if len(losses) % 10 == 0:
                    print(f"epoch {epoch} step {len(losses)} loss {sum(losses[-10:]) / 10:.3f}", flush=True)
            self.model.eval()
            with torch.no_grad(), torch.autocast(DEVICE, dtype=torch.bfloat16):
                hits = sum((self.model(i.to(DEVICE), m.to(DEVICE)).argmax(1).cpu() == y).sum().item()
                           for i, m, y in self.valid)
            print(f"epoch {epoch} accuracy {hits / 200:.3f}")


Runner().run()
