"""What torchrun promises: several processes learn together what one would, and leave and come back together.

The processes are started here with the variables that torchrun sets, which spares its own start; test_readme.py runs
the README's torchrun command itself.
"""

import itertools
import json
import os
import socket
import subprocess

import pytest
import torch
from conftest import ROOT, posts, tiny_bert, write_csv
from safetensors.torch import load_file
from test_training import CPU, loader_of, random_rows, setup, small_model
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

import BERT_main_aggressive as script
from training.run import state
from training.run.optimization import Learner
from training.run.team import Team

RECORDED = '''
import hashlib, json, os, signal, sys
import torch
sys.path.insert(0, os.environ["BUNDLE"])
import BERT_main_aggressive as script

rank, log, rows = int(os.environ.get("RANK", 0)), open(f"{os.environ['LOG']}-{os.environ.get('RANK', 0)}", "w"), []
take_step, logits_of = script.take_step, script.logits_of

def noting_rows(model, batch, *others):
    if model.training:
        rows.extend(batch["rows"].tolist())
    return logits_of(model, batch, *others)

def noting_weights(learner, *others):
    take_step(learner, *others)
    digest = hashlib.sha256()
    for parameter in learner.model.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    log.write(json.dumps([rows, digest.hexdigest()]) + "\\n")
    log.flush()
    rows.clear()
    if rank == 1 and os.environ.get("LEAVE") and sum(1 for _ in open(log.name)) == int(os.environ["LEAVE"]):
        os.kill(os.getpid(), signal.SIGTERM)       # one process alone is told

script.logits_of, script.take_step = noting_rows, noting_weights
sys.exit(script.main(sys.argv[1:]))
'''


@pytest.fixture
def together(python, tmp_path):
    """Run the training script in so many processes: together(name, processes, **constants) -> (status, screen, steps).

    steps: for each process the rows of each optimizer step, and a digest of the weights after it.
    """
    encoder = tiny_bert(tmp_path / "encoder")
    still = tiny_bert(tmp_path / "still", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    table = write_csv(tmp_path / "posts.csv", posts(300))
    (tmp_path / "recorded.py").write_text(RECORDED)

    def run(name, processes, leave="", dropout=True, **constants):
        constants = {"TRAIN_PATH": table, "MODEL_NAME": encoder if dropout else still, "MAX_LENGTH": 32,
                     "NUM_EPOCHS": 2, "LEARNING_RATE": 1e-3, "OUTPUT_DIR": tmp_path / name, "MAX_TRAIN_ROWS": 269, **constants}
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1])
        started = [subprocess.Popen(
            [python, tmp_path / "recorded.py", *(f"--{key}={value}" for key, value in constants.items())],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"BUNDLE": str(ROOT), "LOG": str(tmp_path / f"{name}.log"), "LEAVE": str(leave)}
            | ({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_ADDR": "localhost",
                "MASTER_PORT": port} if processes > 1 else {})) for rank in range(processes)]
        screens = [one.communicate(timeout=200)[0] for one in started]
        steps = [[json.loads(line) for line in (tmp_path / f"{name}.log-{rank}").read_text().splitlines()]
                 for rank in range(processes)]
        return max(one.returncode for one in started), "".join(screens), steps
    run.folder = tmp_path
    return run


def figures(folder):
    return [[epoch[name] for name in ("train_loss", "train_acc", "val_loss", "val_acc", "val_macro_f1", "lr")]
            for epoch in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())]


def test_two_processes_learn_what_one_learns_from_batches_twice_as_large(together):
    constants = {"HEAD": "linear", "CLASS_WEIGHTS": True, "LABEL_SMOOTHING": 0.1, "dropout": False}
    status, screen, [first, second] = together("two", 2, BATCH_SIZE=16, **constants)
    assert status == 0, screen
    assert "2 with 16 texts each: 32 a batch" in screen and screen.count("Epoch 1:") == 1
    status, alone_screen, [alone] = together("one", 1, BATCH_SIZE=32, **constants)
    assert status == 0, alone_screen
    assert [digest for _, digest in first] == [digest for _, digest in second]
    assert len(first) == len(alone) == 18       # 269 rows: eight batches of 32 and one of 13
    for (rows, _), (others, _), (all_rows, _) in zip(first, second, alone):
        assert sorted(rows + others) == sorted(all_rows) and abs(len(rows) - len(others)) <= 1
    folder = together.folder
    for two, one in zip(figures(folder / "two"), figures(folder / "one")):
        assert two == pytest.approx(one, abs=1e-5)
    weights, wanted = (load_file(folder / name / "best" / "model.safetensors") for name in ("two", "one"))
    for name in wanted:
        torch.testing.assert_close(weights[name], wanted[name], rtol=1e-4, atol=1e-5)
    left, wanted = (sorted(path.name.partition(".tfevents")[0] for path in (folder / name).rglob("*"))
                    for name in ("two", "one"))     # behind this the names tell process and time
    assert left == wanted


def test_processes_told_to_leave_save_together_and_come_back_as_if_nothing_had_been(together):
    constants = {"BATCH_SIZE": 8, "SAVE_EVERY": 0}
    status, screen, whole = together("whole", 2, **constants)
    assert status == 0, screen
    assert "BatchNorm takes its statistics from each process's own texts" in screen
    status, screen, left = together("left", 2, leave=5, **constants)
    assert status == 143 and screen.count("interrupted after 5 optimizer steps") == 1
    assert "torchrun --nproc_per_node=2 " in screen and "--RESUME=True" in screen
    status, screen, resumed = together("left", 2, RESUME=True, **constants)
    assert status == 0, screen
    assert [left[rank] + resumed[rank] for rank in (0, 1)] == whole
    assert figures(together.folder / "left") == figures(together.folder / "whole")


@pytest.fixture
def alone_in_a_group():
    """torch.distributed with this process alone in it: what is exchanged can be counted, and comes back as it is."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_gradients_are_exchanged_in_the_last_pass_of_a_step_alone(alone_in_a_group):
    model, loader, seen = small_model(), loader_of(random_rows(40), 8), []
    optimizer, schedule, _ = setup(model, loader, accumulation=2)
    learner = Learner(model, optimizer, schedule, CPU, CPU.scaler(), accumulation=2)
    learner.wrapped = DistributedDataParallel(model)
    model.register_forward_hook(lambda *given: seen.append("pass"))

    def exchange(_, bucket):
        seen.append("exchange")
        return default_hooks.allreduce_hook(None, bucket)

    learner.wrapped.register_comm_hook(None, exchange)
    script.train_epoch(learner, loader)
    assert [told for told, _ in itertools.groupby(seen)] == ["pass", "exchange"] * 3 and seen.count("pass") == 5


def test_a_run_goes_on_with_as_many_processes_as_it_was_begun_with(train, posts_csv, tmp_path, monkeypatch):
    assert train(TRAIN_PATH=posts_csv)[0] == 0
    newest_state = state.newest_state

    def of_two(folder):
        found = newest_state(folder)
        assert json.loads(found["about"])["processes"] == 1 == len(found["own"])
        return found | {"about": json.dumps(json.loads(found["about"]) | {"processes": 2})}

    monkeypatch.setattr(state, "newest_state", of_two)
    status, _, errors = train(TRAIN_PATH=posts_csv, RESUME=True)
    assert status == 2 and "was begun with 2 processes, not 1" in errors


def test_what_takes_one_process_is_refused_in_several():
    with pytest.raises(script.SettingError, match="ENSEMBLE is 2, which takes one process; there are 3"):
        script.prepare(script.settings_from(["--ENSEMBLE=2"]), Team(rank=0, size=3))
