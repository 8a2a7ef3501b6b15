"""对抗训练 FGM:每一步反向传播两次,工单分五类。"""
import torch
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BertForSequenceClassification

from corpus import QUEUES, encoder, tickets


class FGM:
    """在词嵌入上加扰动,再恢复。"""

    def __init__(self, model, epsilon=0.3, name="word_embeddings"):
        self.model, self.epsilon, self.name, self.backup = model, epsilon, name, {}

    def attack(self):
        for n, p in self.model.named_parameters():
            if p.requires_grad and self.name in n and p.grad is not None:
                self.backup[n] = p.data.clone()
                norm = torch.norm(p.grad)
                if norm != 0 and not torch.isnan(norm):
                    p.data.add_(self.epsilon * p.grad / norm)

    def restore(self):
        for n, p in self.model.named_parameters():
            if n in self.backup:
                p.data = self.backup[n]
        self.backup = {}


def main():
    torch.manual_seed(16)
    tok = AutoTokenizer.from_pretrained(encoder())
    names = list(QUEUES)
    rows = [(t, names.index(q)) for t, q in tickets(800, seed=16)]

    def collate(b):
        e = tok([t for t, _ in b], padding=True, truncation=True, max_length=40, return_tensors="pt")
        return {**e, "labels": torch.tensor([y for _, y in b])}

    model = BertForSequenceClassification.from_pretrained(encoder(), num_labels=5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    fgm = FGM(model)
    for epoch in range(2):
        model.train()
        for batch in DataLoader(rows[:600], 16, shuffle=True, collate_fn=collate):
            loss = model(**batch).loss
            loss.backward()          # 正常梯度
            fgm.attack()
            model(**batch).loss.backward()   # 对抗梯度,累加
            fgm.restore()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            n = sum((model(**b).logits.argmax(1) == b["labels"]).sum().item() for b in DataLoader(rows[600:], 20, collate_fn=collate))
        print(f"第 {epoch} 轮 损失 {loss.item():.3f} 准确率 {n / 200:.3f}")


if __name__ == "__main__":
    main()
