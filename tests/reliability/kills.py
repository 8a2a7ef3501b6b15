"""Kills runs of the training script at random moments and resumes each: it must end as if nothing had happened.

    python tests/reliability/kills.py                  40 runs of a tiny BERT, about ten minutes on one core
    python tests/reliability/kills.py --kills 4 --seed 7

Each run saves a state after every step and is killed (SIGKILL) after a random time, every second one while a file is
being written; every third is killed again while it resumes. Then it is resumed to its end, and its final state and
its best model are compared with those of a run that was left alone, bit for bit. Exit status 1 where one differs.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"     # the same arithmetic in every process, and cores left for others
sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

import torch
from conftest import posts, tiny_bert, write_csv

import BERT_main_aggressive as script


def start(constants):
    """A process that trains; forked, since importing everything takes longer than the whole run."""
    child = os.fork()
    if child:
        return child
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1), os.dup2(silence, 2)
    status = 99
    try:
        status = script.main([f"--{name}={value}" for name, value in constants.items()])
    finally:
        os._exit(status)


def status_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(child, seconds, folder, in_a_write):
    """Kill the process after so many seconds, or from then on as soon as it writes; what it was doing, in a word, or
    None where it ended before."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if os.waitpid(child, os.WNOHANG)[0]:
            return None
        time.sleep(0.001)
    while in_a_write and not writing(folder):
        if os.waitpid(child, os.WNOHANG)[0]:
            return None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if writing(folder):
        return "in the middle of a write"
    return "between writes" if list(folder.glob("state/*.sha256")) else "before the first state"


def writing(folder):
    return bool(list(folder.glob("**/*.part"))) if folder.is_dir() else False


def outcome(folder):
    """All that a finished run has learned: its last state's tensors, its best model's bytes, its figures."""
    state = torch.load(sorted(folder.glob("state/*.pt"))[-1], weights_only=True)
    figures = [{name: value for name, value in json.loads(line).items() if "second" not in name}
               for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return state["model"], state["optimizer"]["state"], (folder / "best" / "model.safetensors").read_bytes(), figures


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40, help="runs that are killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    chance, seen, equal = random.Random(options.seed), Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        constants = {"TRAIN_PATH": write_csv(folder / "posts.csv", posts(200)), "MODEL_NAME": tiny_bert(folder / "tiny"),
                     "MAX_LENGTH": 32, "BATCH_SIZE": 16, "NUM_EPOCHS": 3, "SAVE_EVERY": 1, "RESUME": True,
                     "GRADIENT_ACCUMULATION_STEPS": 2}
        began = time.monotonic()
        if status_of(start(constants | {"OUTPUT_DIR": folder / "reference"})):
            sys.exit("the reference run failed")
        whole, reference = time.monotonic() - began, outcome(folder / "reference")
        for number in range(options.kills):
            run = None
            while run is None or not done:      # a run that ends before it is killed proves nothing: another one
                run = Path(tempfile.mkdtemp(dir=folder)) / "run"
                done = kill(start(constants | {"OUTPUT_DIR": run}), chance.uniform(0, whole), run, number % 2 == 1)
            seen[done] += 1
            if number % 3 == 2:
                again = kill(start(constants | {"OUTPUT_DIR": run}), chance.uniform(0, whole / 2), run, number % 2 == 1)
                seen[again or "not a second time"] += 1
            status = status_of(start(constants | {"OUTPUT_DIR": run}))
            equal += status == 0 and same(outcome(run), reference)
    print(f"{equal} of {options.kills} resumed runs end with the reference weights, bit for bit "
          f"(a run left alone takes {whole:.1f} s)")
    print("killed: " + ", ".join(f"{count} {what}" for what, count in seen.most_common()))
    return int(equal != options.kills)


if __name__ == "__main__":
    sys.exit(main())
