"""The four freeze strategies on one table, one after the other: the README's table of results.

    python tests/benchmarks/strategies.py --TRAIN_PATH=... [any constant of BERT_main_aggressive.py]

Each strategy is a run of BERT_main_aggressive.py with the constants given here, in a process of its own; the table is
read from what these runs wrote. Seconds hold for this machine and for what else ran on it meanwhile: compare them
with each other only.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STRATEGIES = ("none", "embed", "half", "full")


def run(strategy, constants, folder):
    """(config.json, best epoch, all epochs) of one run; its screen goes to standard error."""
    command = [sys.executable, ROOT / "BERT_main_aggressive.py", *constants, f"--FREEZE_STRATEGY={strategy}",
               f"--OUTPUT_DIR={folder}"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    return config, max(epochs, key=lambda epoch: epoch["val_macro_f1"]), epochs


def main(constants):
    print("| | trainable parameters | Loss, epoch 1 → last | accuracy | macro-F1 | seconds of training |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for strategy in STRATEGIES:
            config, best, epochs = run(strategy, constants, Path(folder) / strategy)
            print(f"| `{strategy}` | {config['trainable_parameters']:,} | {epochs[0]['train_loss']:.3f} → "
                  f"{epochs[-1]['train_loss']:.3f} | {best['val_acc']:.3f} | {best['val_macro_f1']:.3f} | "
                  f"{sum(epoch['seconds'] for epoch in epochs):.0f} |", flush=True)
    baseline = config["baseline"]
    print(f"| LinearSVC over TF-IDF | | | {baseline['linear_accuracy']:.3f} | {baseline['linear_macro_f1']:.3f} | |")
    print(f"| always {baseline['largest_class']} | | | {baseline['accuracy']:.3f} | | |")
    print(f"\n{config['encoder']}, {config['training_rows']:,} rows to train on, {config['validation_rows']:,} to validate "
          f"on, {config['device']} {config['precision']}, torch {config['versions']['torch']}, "
          f"transformers {config['versions']['transformers']}")


if __name__ == "__main__":
    main(sys.argv[1:])
