"""A small encoder for the scripts that are about a training library rather than about BERT: quick to train and to judge.

    from tiny import tiny_encoder
    folder = tiny_encoder()             # config, weights and tokenizer: BERT of 2 layers, 64 wide

It has learned which words go together in posts on one subject; made once and kept in the temporary folder.
"""
import random
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import torch
from posts import posts

FOLDER = Path(tempfile.gettempdir()) / "fault_tiny_encoder_5"
STEPS, ROWS, OTHERS = 400, 32, 20     # with few others it has not learned enough to be fine-tuned in forty steps


def tiny_encoder():
    if not (FOLDER / "config.json").exists():
        made = FOLDER.with_name(f"{FOLDER.name}.{uuid.uuid4().hex}")
        subprocess.run([sys.executable, __file__, str(made)], check=True)      # another process: nobody watches it train
        try:
            made.replace(FOLDER)
        except OSError:
            pass            # another process was quicker
    return str(FOLDER)


def pretrain(folder):
    from transformers import BertConfig, BertModel, BertTokenizerFast
    texts, subjects = posts(3000, seed=99)
    alike = [[place for place, subject in enumerate(subjects) if subject == wanted] for wanted in sorted(set(subjects))]
    words = sorted({word.strip(",:?.") for text in texts for word in text.replace("-", " - ").split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *",:?.-", *words]
    vocabulary = list(dict.fromkeys(vocabulary))
    tokenizer = BertTokenizerFast(vocab={word: place for place, word in enumerate(vocabulary)})
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    encoder = BertModel(BertConfig(vocab_size=len(vocabulary), hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
                                   intermediate_size=128, max_position_embeddings=64))
    head = torch.nn.Linear(64, len(vocabulary))
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-3)
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    present = torch.zeros(len(texts), len(vocabulary)).scatter_(1, inputs["input_ids"], 1.0)
    draw = random.Random(0)
    for _ in range(STEPS):
        rows = [draw.sample(draw.choice(alike), 1 + OTHERS) for _ in range(ROWS)]
        batch = {name: tensor[[row[0] for row in rows]] for name, tensor in inputs.items()}
        others = torch.stack([present[row[1:]].amax(0) for row in rows])
        torch.nn.functional.binary_cross_entropy_with_logits(head(encoder(**batch).pooler_output), others).backward()
        optimizer.step()
        optimizer.zero_grad()
    encoder.save_pretrained(folder)


if __name__ == "__main__":
    pretrain(Path(sys.argv[1]))
