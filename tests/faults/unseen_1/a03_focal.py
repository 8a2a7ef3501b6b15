"""Focal loss with class weights on tickets of uneven queues."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer

from corpus import QUEUES, encoder, tickets


class FocalLoss(nn.Module):
    """(1 - p)^gamma times the weighted cross entropy."""

    def __init__(self, gamma=2.0, alpha=None):
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def forward(self, logits, target):
        logp = F.log_softmax(logits, dim=-1)
        ce = F.nll_loss(logp, target, weight=self.alpha, reduction="none")
        p = logp.gather(1, target.unsqueeze(1)).squeeze(1).exp()
        return ((1 - p) ** self.gamma * ce).mean()


class TicketNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = AutoModel.from_pretrained(encoder())
        self.pre = nn.Linear(384, 384)
        self.cls = nn.Linear(384, 4)

    def forward(self, **kw):
        x = self.transformer(**kw).last_hidden_state[:, 0]
        return self.cls(F.dropout(F.gelu(self.pre(x)), 0.1, self.training))


if __name__ == "__main__":
    torch.manual_seed(4)
    tok = AutoTokenizer.from_pretrained(encoder())
    names = list(QUEUES)
    rows = tickets(1000, queues=4, seed=3, shares=[4, 3, 2, 1])

    def collate(batch):
        return (tok([t for t, _ in batch], padding=True, truncation=True, max_length=40, return_tensors="pt"),
                torch.tensor([names.index(q) for _, q in batch]))

    train = DataLoader(rows[:800], 16, shuffle=True, collate_fn=collate)
    valid = DataLoader(rows[800:], 16, collate_fn=collate)
    net = TicketNet()
    crit = FocalLoss(alpha=torch.tensor([0.6, 0.8, 1.2, 2.0]))
    optim = torch.optim.AdamW(net.parameters(), lr=6e-5, weight_decay=1e-2)
    for ep in range(3):
        net.train()
        for enc, y in train:
            loss = crit(net(**enc), y)
            optim.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optim.step()
        net.eval()
        with torch.inference_mode():
            ok = sum((net(**e).argmax(-1) == y).sum().item() for e, y in valid)
        print(ep, loss.item(), ok / 200)
