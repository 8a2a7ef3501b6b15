"""How much the training script's resident memory grows: it must stay flat.

    python tests/reliability/memory.py                  2,000 steps of a tiny BERT over texts of 1 to 60 words
    python tests/reliability/memory.py --steps 20000

Measured at the 200th step and at the last one. Exit status 1 where it has grown by 2 % or more.
"""

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from conftest import WORDS, tiny_bert, write_csv

import BERT_main_aggressive as script

FIRST = 200     # steps in which everything is set up, the drawing of the report among it
EPOCH = 40      # steps
BATCH_SIZE = 8


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def texts_of_all_lengths(count):
    chance = random.Random(0)
    return [(" ".join(chance.choices([*WORDS[label].split(), str(row)], k=chance.randint(1, 60))) + f" {row}", label)
            for row in range(count) for label in [chance.choice(list(WORDS))]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps
    seen = {}

    def measured(learner, place, progress, *others, after_step=script.after_step):
        after_step(learner, place, progress, *others)
        if progress.step in (FIRST, steps):
            seen[progress.step] = resident_bytes()

    script.after_step = measured
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        table = write_csv(folder / "posts.csv", texts_of_all_lengths(EPOCH * BATCH_SIZE * 10 // 9))
        status = script.main([f"--{name}={value}" for name, value in {
            "TRAIN_PATH": table, "MODEL_NAME": tiny_bert(folder / "tiny"), "MAX_LENGTH": 64, "BATCH_SIZE": BATCH_SIZE,
            "NUM_EPOCHS": steps // EPOCH + 1, "EARLY_STOPPING_PATIENCE": 0, "OUTPUT_DIR": folder / "run"}.items()])
    if status:
        return status
    growth = seen[steps] / seen[FIRST] - 1
    print(f"resident memory: {seen[FIRST] / 1e6:.1f} MB after {FIRST} steps, {seen[steps] / 1e6:.1f} MB after {steps:,}: "
          f"{growth:+.2%}")
    return int(growth >= 0.02)


if __name__ == "__main__":
    sys.exit(main())
