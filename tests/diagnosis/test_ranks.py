"""Scripts that train in several processes: the first rank is examined, nothing of the others is left running."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import ROOT
from test_observer import SETUP

RANK = """
import os
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data.distributed import DistributedSampler
def work():
    data = TensorDataset(ids, mask, labels)
    train = DataLoader(data, batch_size=4, sampler=DistributedSampler(data))
    model = DistributedDataParallel(Net())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, step / 100))
    print("world of", dist.get_world_size(), flush=True)
    for epoch in range(4):
        for a, b, y in train:
            loss = nn.functional.cross_entropy(model(a, b), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
"""
LAUNCHED = RANK + """
dist.init_process_group("gloo")
work()
"""
SPAWNED = RANK + """
import torch.multiprocessing as mp
def main(rank, world):
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = "127.0.0.1", "{port}"
    dist.init_process_group("gloo", rank=rank, world_size=world)
    work()
if __name__ == "__main__":
    mp.spawn(main, args=(2,), nprocs=2)
"""


def free_port():
    import socket
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def examine(folder, source, *launcher):
    (folder / "train.py").write_text(textwrap.dedent(SETUP) + source.replace("{port}", str(free_port())))
    command = [*(launcher or [sys.executable]), str(ROOT / "diagnose_bert.py"), "--TIME_LIMIT=120", "--CURE=False", "train.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280,
                          env=os.environ | {"MARKED": str(folder)})
    report = json.loads((folder / "runs/diagnosis/report.json").read_text())
    assert not bearing(f"MARKED={folder}")
    return done, report, (folder / "runs/diagnosis/script.log").read_text()


def bearing(mark):
    """Ids of the processes with this in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += [path.parent.name] if mark.encode() in path.read_bytes().split(b"\0") else []
        except OSError:
            pass            # ended in the meantime
    return found


def names(report):
    return [finding["name"] for finding in report["findings"]]


def test_a_script_for_torchrun_is_examined_without_it_as_a_single_rank(tmp_path, python):
    reads = "print('my rank', int(os.environ['LOCAL_RANK']))\n"
    done, report, log = examine(tmp_path, RANK + reads + LAUNCHED.removeprefix(RANK), python)
    assert names(report)[0] == "schedule-per-epoch" and "my rank 0\nworld of 1" in log, done.stdout


def test_under_torchrun_the_first_rank_is_examined_and_reported_once(tmp_path):
    done, report, log = examine(tmp_path, LAUNCHED, sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
                                "--master-port", str(free_port()))
    assert names(report)[0] == "schedule-per-epoch" and "world of 2" in log, done.stdout + done.stderr
    assert done.stdout.count("error[schedule-per-epoch]") == 1


BY_HAND = """    processes = [mp.Process(target=main, args=(rank, 2)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
"""


@pytest.mark.parametrize("way", ["    mp.spawn(main, args=(2,), nprocs=2)\n", BY_HAND])
def test_of_ranks_that_the_script_starts_the_first_is_examined(tmp_path, way, python):
    done, report, log = examine(tmp_path, SPAWNED.replace("    mp.spawn(main, args=(2,), nprocs=2)\n", way), python)
    assert names(report)[0] == "schedule-per-epoch" and log.count("world of") == 2, done.stdout


def test_a_model_in_dataparallel_is_recognised(tmp_path, python):
    done, report, log = examine(tmp_path, """
from transformers import BertConfig, BertForSequenceClassification
config = BertConfig(vocab_size=100, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                    num_labels=3)
model = nn.DataParallel(BertForSequenceClassification(config))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
for epoch in range(2):
    for a, b, y in DataLoader(TensorDataset(ids, mask, labels), batch_size=8, shuffle=True):
        loss = model(input_ids=a, attention_mask=b, labels=y).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
""", python)
    assert names(report)[0] == "lr-zero", done.stdout
    assert "BertModel, 2 layers" in done.stdout.replace("\n", " ")
    assert "experiment failed" not in done.stdout
