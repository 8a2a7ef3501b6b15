"""What the tests share: a real but tiny BERT on disk, and small tables of texts that it can learn."""

import csv
import gc
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "pretended_cuda")]
os.environ.setdefault("OMP_NUM_THREADS", "1")   # each test process and what it starts keeps to one core
os.environ.setdefault("HF_HUB_OFFLINE", "1")    # no test needs the hub; those about it change this themselves
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")     # read when CUDA starts; DETERMINISTIC needs it

STARTED = Path(__file__).with_name("started.py")
SHARED = ROOT.parent / "shared" / "data" / "twitter_entity_sentiment"
WORDS = {"Positive": "love great wonderful happy excellent", "Negative": "hate awful broken angry terrible",
         "Neutral": "price colour size release battery", "Irrelevant": "weather football dinner cousin holiday"}


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Give each process of -n whole files, whose tests share what the file makes, in the order given below."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist, config.option.loadscopereorder = "loadfile", False


def pytest_xdist_auto_num_workers(config):
    """-n auto is one process more than there are cores: some tests wait for a time limit, a signal or a process."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else None


def pytest_configure(config):
    """Start the server of started.py for all test processes; it imports nothing before it is first called."""
    config.addinivalue_line("markers", "cuda: needs a CUDA device, a real or a pretended one")
    if hasattr(config, "workerinput") or not sys.platform.startswith("linux"):
        return
    folder = Path(tempfile.mkdtemp(prefix="python-"))
    command, calls = folder / "python", folder / "calls"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {STARTED} {calls} "$@"\n')
    command.chmod(0o755)
    code = f"exec(compile(open({str(STARTED)!r}).read(), '<started>', 'exec'))"     # no file of a script's on the stack
    server = subprocess.Popen([sys.executable, "-c", code, "serve", calls, command], stdin=subprocess.PIPE,
                              start_new_session=True)
    os.environ["STARTED_PYTHON"] = str(command)
    config.add_cleanup(lambda: (server.communicate(), shutil.rmtree(folder)))


@pytest.fixture(scope="session")
def python():
    """The path of a Python that begins with the libraries imported, as started.py tells; elsewhere, of Python."""
    return os.environ.get("STARTED_PYTHON", sys.executable)


# Devices. A test is for the CPU and sees no other device, unless it says otherwise by one of these. Those for CUDA run
# where there is a GPU; elsewhere pretended_cuda/test_pretended_cuda.py runs them on one that is not there.

CUDA = pytest.param("cuda", marks=pytest.mark.cuda)
on_both_devices = pytest.mark.parametrize("device", ["cpu", CUDA], indirect=True)
on_cuda = pytest.mark.parametrize("device", [CUDA], indirect=True)


LONGEST = ("test_pretended_cuda", "test_explanations", "test_diagnose_bert", "test_faults_suite", "test_readme",
           "test_reliability")    # minutes of files; started last, one of them would keep a single core busy


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
    for_cuda = [item for item in items if item.get_closest_marker("cuda")]
    if for_cuda and not cuda_is_here():
        config.hook.pytest_deselected(items=for_cuda)
        items[:] = [item for item in items if not item.get_closest_marker("cuda")]


def cuda_is_here():
    import torch
    return torch.cuda.is_available()


def device_of(item):
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return params.get("device", "cuda" if item.get_closest_marker("cuda") else "cpu")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """On a GPU server too a test for the CPU has no other device, nor has what its fixtures make for several tests."""
    with pytest.MonkeyPatch.context() as patch:
        if device_of(item) == "cpu" and cuda_is_here():
            hide_cuda(patch)
        if item.path.parent.name == "training":     # in float32, whatever units this processor has
            import training.precision
            patch.setattr(training.precision, "bfloat16_gain", lambda: 0.1)
        return (yield)


@pytest.fixture(autouse=True)
def device(request):
    """The device that the test is for, as the scripts find it."""
    return device_of(request.node)


def hide_cuda(patch):
    """From now on the scripts find no CUDA device, in this process and in those that it starts."""
    import torch
    patch.setattr(torch.cuda, "is_available", lambda: False)
    patch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def real_data():
    if not SHARED.is_dir():
        pytest.skip("the real data do not lie beside the project")
    return SHARED


def tiny_bert(folder, **changes):
    """Save a BERT of two layers, 32 wide, with random weights and a vocabulary of the words above; its folder."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast
    folder.mkdir(parents=True, exist_ok=True)
    words = sorted({word for line in WORDS.values() for word in line.split()} | {"the", "phone", "is", "a", "it", "and"})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *"abcdefghijklmnopqrstuvwxyz0123456789",
                  *("##" + letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789")]
    tokenizer = BertTokenizerFast(vocab={word: place for place, word in enumerate(vocabulary)})
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=64, **changes)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("encoder") / "tiny")


def posts(count, seed=0):
    """(text, label) pairs, no two texts alike, each bearing two words of its class."""
    chance = random.Random(seed)
    rows, seen = [], set()
    while len(rows) < count:
        label = chance.choice(list(WORDS))
        words = chance.sample(WORDS[label].split(), 2)
        text = f"the phone {words[0]} {chance.randrange(1000)} is {words[1]}"
        if text not in seen:
            seen.add(text)
            rows.append((text, label))
    return rows


def write_csv(path, rows, header=("text", "label")):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if header:
            writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture
def posts_csv(tmp_path):
    return write_csv(tmp_path / "posts.csv", posts(200))


@pytest.fixture(scope="session")
def training_script():
    """BERT_main_aggressive; what it imports is set aside for good, since a run collects garbage after each epoch."""
    import BERT_main_aggressive
    gc.freeze()
    return BERT_main_aggressive


@pytest.fixture
def train(device, training_script, tiny_encoder, tmp_path, capsys, monkeypatch):
    """Run the training script in this process on the tiny BERT: train(NAME=value, ...) -> (status, screen, errors).

    Its page has no pictures, which take longer than the run, but with train(draw=True, ...).
    """
    def run(draw=False, **constants):
        if not draw:
            leave_out_pictures(monkeypatch)
        constants = {"MODEL_NAME": tiny_encoder, "OUTPUT_DIR": tmp_path / "run", "NUM_EPOCHS": 1, "MAX_LENGTH": 32,
                     **constants}
        status = training_script.main([f"--{name}={value}" for name, value in constants.items()])
        return status, *capsys.readouterr()

    return run


def leave_out_pictures(patch):
    """From now on a run's page is written without its pictures, whose drawing takes longest."""
    blank = dict.fromkeys(("curves", "calibration", "lengths"), "")
    patch.setattr("training.report.page.pictures", lambda *given: blank)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
