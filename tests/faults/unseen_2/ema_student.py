"""Fine-tuning with an exponential moving average of the weights; the average is what gets evaluated."""
import copy
import sys
sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))

import torch
import torch.nn as nn
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoTokenizer
from posts import encoder_folder, posts, split

torch.manual_seed(2)
DECAY = 0.98
CLASSES = 4


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = AutoModel.from_pretrained(encoder_folder(), add_pooling_layer=False)
        self.head = nn.Linear(384, CLASSES)

    def forward(self, enc):
        h = self.body(**enc).last_hidden_state
        m = enc["attention_mask"].unsqueeze(2)
        return self.head((h * m).sum(1) / m.sum(1))


@torch.no_grad()
def update_average(average, model):
    for a, p in zip(average.parameters(), model.parameters()):
        a.lerp_(p, 1 - DECAY)


tok = AutoTokenizer.from_pretrained(encoder_folder())
collate = lambda rows: (tok([t for t, _ in rows], padding=True, truncation=True, max_length=64, return_tensors="pt"),
                        torch.tensor([y for _, y in rows]))
tr, va = split(*posts(900, CLASSES, seed=41))
tr_dl = DataLoader(tr, 16, shuffle=True, drop_last=True, collate_fn=collate)
va_dl = DataLoader(va, 75, collate_fn=collate)

student = Model()
teacher = copy.deepcopy(student).eval()
opt = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9)

for epoch in range(5):
    student.train()
    for it, (enc, y) in enumerate(tr_dl):
        loss = nn.functional.cross_entropy(student(enc), y)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        opt.step()
        teacher.zero_grad()
        update_average(teacher, student)
        if it % 10 == 0:
            print(f"{epoch}/{it} {loss.item():.3f}", flush=True)
    with torch.no_grad():
        acc = torch.cat([teacher(e).argmax(1) == y for e, y in va_dl]).float().mean().item()
    print(f"epoch {epoch}: averaged model {acc:.3f}")
