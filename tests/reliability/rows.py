"""How much memory a short text takes on its way from the file to the loaders: ten million must fit in 4 GB.

    python tests/reliability/rows.py                            100,000, 200,000 and 400,000 texts
    python tests/reliability/rows.py --rows 1000000,2000000

Texts of eight words, 50 characters, in four classes. For each number of them the training script prepares a run in a
process of its own, up to the first step. The tiny BERT knows few of the words, so that a token is a letter or two: a
text has three times the tokens here that it has with a real vocabulary. Exit status 1 where the tokenized rows take
200 bytes a text or more, or the highest memory rises by 400 bytes or more a text.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from conftest import WORDS, tiny_bert, write_csv

MOST_TOKENIZED = 200    # bytes a text
MOST_PEAK = 400         # bytes a text: 4 GB for ten million
SHOWN = {"tokenized": "tokenized rows", "resident": "resident", "peak": "peak"}


def short_texts(count, seed=0):
    """(text, label) pairs: six words of 20,000 made-up ones, and two that tell the class."""
    chance = random.Random(seed)
    known = ["".join(chance.choices("aeiourstnl", k=chance.randint(2, 8))) for _ in range(20_000)]
    for _ in range(count):
        label = chance.choice(list(WORDS))
        yield " ".join(chance.choices(known, k=6) + chance.choices(WORDS[label].split(), k=2)), label


def memory(what):
    """VmRSS or VmHWM of this process, in bytes; ru_maxrss would count the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


def measure(table, model):
    """Prepare a run on this table and print, as the last line, what it took."""
    import BERT_main_aggressive as script
    empty, began = memory("VmRSS"), time.perf_counter()
    data, _, _ = script.prepare(script.settings_from([
        f"--TRAIN_PATH={table}", f"--MODEL_NAME={model}", "--MAX_LENGTH=64", f"--OUTPUT_DIR={table}.run"]))
    sets = [loader.dataset for loader in data.loaders]
    print(json.dumps({
        "tokenized": sum(array.nbytes for rows in sets for array in (rows.ids, rows.starts, rows.labels)),
        "resident": memory("VmRSS") - empty, "peak": memory("VmHWM"), "texts": sum(map(len, sets)),
        "tokens": sum(len(rows.ids) for rows in sets), "seconds": time.perf_counter() - began}))


def measured(rows, folder, model):
    table = write_csv(folder / f"{rows}.csv", short_texts(rows))
    child = subprocess.run([sys.executable, __file__, "--measure", table, model], stdout=subprocess.PIPE, text=True)
    table.unlink()
    if child.returncode:
        sys.exit(f"{rows:,} rows: the preparation ended with {child.returncode}\n{child.stdout}")
    one = json.loads(child.stdout.splitlines()[-1])
    print(f"{one['texts']:>11,} texts: tokenized rows {one['tokenized'] / 1e6:8.1f} MB, {one['tokens'] / rows:.1f} "
          f"tokens a text; resident {one['resident'] / 1e6:8.1f} MB more than before; peak {one['peak'] / 1e6:8.1f} "
          f"MB; {one['seconds']:.0f} s", flush=True)
    return one


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="100000,200000,400000")
    parser.add_argument("--measure", nargs=2, metavar=("TABLE", "MODEL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        return measure(*arguments.measure)
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_bert(Path(folder) / "tiny")
        sizes = [measured(int(rows), Path(folder), model) for rows in arguments.rows.split(",")]
    slopes = {}
    for less, more in pairwise(sizes):
        slopes = {name: (more[name] - less[name]) / (more["texts"] - less["texts"]) for name in SHOWN}
        print(f"{less['texts']:>11,} to {more['texts']:,}: bytes a further text: "
              + ", ".join(f"{SHOWN[name]} {slope:.0f}" for name, slope in slopes.items()))
    last = sizes[-1]
    each = last["tokenized"] / last["texts"]
    print(f"tokenized rows: {each:.0f} bytes a text (bound {MOST_TOKENIZED})")
    if slopes:
        ten_million = last["peak"] + slopes["peak"] * (10_000_000 - last["texts"])
        print(f"peak: {slopes['peak']:.0f} bytes a further text (bound {MOST_PEAK}); so ten million texts take "
              f"{ten_million / 1e9:.1f} GB, libraries and model included")
    return int(each >= MOST_TOKENIZED or slopes.get("peak", 0) >= MOST_PEAK)


if __name__ == "__main__":
    sys.exit(main())
