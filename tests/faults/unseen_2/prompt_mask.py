# prompt-based classification (PET style):  "<post> . this is about [MASK] ."
import sys; sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[1]))
import torch, torch.nn.functional as F
from torch.utils.data import DataLoader
from transformers import BertForMaskedLM, AutoTokenizer, get_linear_schedule_with_warmup
from posts import posts, split, encoder_folder, NAMES

torch.manual_seed(0)
tok = AutoTokenizer.from_pretrained(encoder_folder())
mlm = BertForMaskedLM.from_pretrained(encoder_folder())
VERBALIZER = {"sport": "sport", "kitchen": "food", "travel": "travel", "computer": "computer"}
verb_ids = torch.tensor([tok.convert_tokens_to_ids(VERBALIZER[n]) for n in NAMES])
assert tok.unk_token_id not in verb_ids

def collate(rows):
    prompts = [f"{t} . this is about {tok.mask_token} ." for t, _ in rows]
    return tok(prompts, padding=True, return_tensors="pt"), torch.tensor([y for _, y in rows])

def mask_logits(enc):
    """scores at the [MASK] position of each prompt"""
    scores = mlm(**enc).logits
    rows, cols = (enc["input_ids"] == tok.mask_token_id).nonzero(as_tuple=True)
    return scores[rows, cols]

tr, va = split(*posts(800, seed=64))
train_dl = DataLoader(tr, 16, shuffle=True, collate_fn=collate)
valid_dl = DataLoader(va, 32, collate_fn=collate)

EPOCHS = 4
opt = torch.optim.AdamW(mlm.parameters(), lr=1e-4)
sch = get_linear_schedule_with_warmup(opt, 15, EPOCHS * len(train_dl))
for ep in range(EPOCHS):
    mlm.train()
    for i, (enc, y) in enumerate(train_dl):
        loss = F.cross_entropy(mask_logits(enc), y)
        loss.backward()
        opt.step(); sch.step(); opt.zero_grad()
        if i % 5 == 0: print(ep, i, f"{loss.item():.3f}", flush=True)
    mlm.eval()
    with torch.no_grad():
        acc = torch.cat([mask_logits(e).argmax(-1) == y for e, y in valid_dl]).float().mean()
    print(f"== epoch {ep}: acc {acc:.3f}")
