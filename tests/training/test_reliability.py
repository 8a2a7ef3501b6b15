"""Nothing lost: runs that are interrupted, killed, short of disk or memory, or fed numbers that go wrong."""

import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pretended
import pytest
import torch
from conftest import ROOT, hide_cuda, metrics, on_both_devices, on_cuda, posts, tiny_bert, write_csv
from safetensors.torch import load_file, save_file
from test_training import fp16, fp32, loader_of, random_rows, setup, small_model

import BERT_main_aggressive as script
from BERT_model_aggressive import BertSentimentClassifier
from training.files import file_sha256
from training.memory import memory_bytes, out_of_memory
from training.precision import Precision
from training.run.optimization import Learner
from training.run.tally import NumbersGoneWrong
from training.run.team import ALONE
from training.run.trouble import memory_advice

SMALL = {"BATCH_SIZE": 16, "NUM_EPOCHS": 3, "SAVE_EVERY": 3}


def small(device):
    """The constants of the reference run; on CUDA a shorter one, which alone is the same each time."""
    return SMALL if device == "cpu" else SMALL | {"NUM_EPOCHS": 1, "DETERMINISTIC": True}


@pytest.fixture(scope="module")
def references():
    return {}       # device -> reference()


@pytest.fixture
def reference(device, references, tiny_encoder, tmp_path_factory):
    """(table, folder) of a run on the test's device that nobody interrupted."""
    if device not in references:
        folder = tmp_path_factory.mktemp("reference")
        table = write_csv(folder / "posts.csv", posts(200))
        constants = {"TRAIN_PATH": table, "MODEL_NAME": tiny_encoder, "MAX_LENGTH": 32, "OUTPUT_DIR": folder / "run",
                     **small(device)}
        assert script.main([f"--{name}={value}" for name, value in constants.items()]) == 0
        references[device] = table, folder / "run"
    return references[device]


def learned(folder):
    """What a run has learned: its last state, its best model's bytes, its figures without times."""
    state = torch.load(max(folder.glob("state/*.pt")), weights_only=True)
    figures = [{name: value for name, value in epoch.items() if "second" not in name} for epoch in metrics(folder)]
    return state["model"], (folder / "best" / "model.safetensors").read_bytes(), figures


def assert_same(folder, other):
    (weights, best, figures), (other_weights, other_best, other_figures) = learned(folder), learned(other)
    assert all(torch.equal(weights[name], other_weights[name]) for name in other_weights)
    assert best == other_best and figures == other_figures


def interrupt_at(monkeypatch, step, number=signal.SIGINT):
    """Send this process a real signal in the middle of that optimizer step."""
    take_step, taken = script.take_step, []

    def interrupted(*arguments):
        taken.append(1)
        if len(taken) == step:
            os.kill(os.getpid(), number)
        return take_step(*arguments)

    monkeypatch.setattr(script, "take_step", interrupted)


# Resuming

@pytest.mark.parametrize("device, step, number, status", [
    ("cpu", 2, signal.SIGINT, 130), ("cpu", 17, signal.SIGTERM, 143),
    pytest.param("cuda", 2, signal.SIGTERM, 143, marks=pytest.mark.cuda)], indirect=["device"])
def test_an_interrupted_run_resumed_ends_bit_for_bit_as_if_nothing_had_happened(
        device, train, reference, tmp_path, monkeypatch, step, number, status):
    table, run = reference
    with monkeypatch.context() as patch:
        interrupt_at(patch, step, number)
        left, _, errors = train(TRAIN_PATH=table, **small(device))
    assert left == status and f"interrupted after {step} optimizer steps" in errors
    command = shlex.split(errors.splitlines()[-1])
    assert command[0] == "python" and f"--OUTPUT_DIR={tmp_path / 'run'}" in command
    assert script.main(command[2:]) == 0
    assert_same(tmp_path / "run", run)


@on_cuda
def test_how_often_states_are_saved_changes_nothing_of_what_is_learned(device, train, reference, tmp_path, monkeypatch):
    table, run = reference      # its scaler has skipped steps, of which the host hears late
    assert sum(epoch["skipped_steps"] for epoch in metrics(run)) > 0
    assert train(TRAIN_PATH=table, **small(device) | {"SAVE_EVERY": 500})[0] == 0
    assert_same(tmp_path / "run", run)


@on_cuda
@pytest.mark.parametrize("begun_on_cpu", [True, False])
def test_a_run_goes_on_on_the_other_device_and_says_so(device, train, posts_csv, tmp_path, monkeypatch, begun_on_cpu):
    for resume in (False, True):
        with monkeypatch.context() as patch:
            if begun_on_cpu != resume:
                hide_cuda(patch)
            if not resume:
                interrupt_at(patch, 3)
            status, screen, _ = train(TRAIN_PATH=posts_csv, RESUME=resume)
            assert status == (0 if resume else 130)
    begun, now = ("cpu", "cuda") if begun_on_cpu else ("cuda", "cpu")
    assert f"begun on {begun}, going on on {now}: the figures will not be the same bit for bit" in screen


def test_a_signal_is_not_lost_that_comes_while_the_processes_agree_on_leaving(monkeypatch):
    agreed, looked = [], []
    watch, place = SimpleNamespace(look=lambda: looked.append(1)), SimpleNamespace(settings=SimpleNamespace(SAVE_EVERY=0))

    def interrupted_behind(team, number):
        agreed.append(number)
        if len(agreed) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return number

    monkeypatch.setattr(script, "highest_of", interrupted_behind)
    with script.Interruption() as interruption:
        learner, progress = SimpleNamespace(team=ALONE), script.Progress()
        script.after_step(learner, place, progress, interruption, watch)    # the others of a team know nothing of it yet
        with pytest.raises(script.Interrupted):
            script.after_step(learner, place, progress, interruption, watch)
    assert agreed == [0, signal.SIGTERM] and looked == [1]


def test_a_state_of_an_earlier_version_is_gone_on_with_and_called_so(train, posts_csv, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        assert train(TRAIN_PATH=posts_csv)[0] == 130
    [path] = (tmp_path / "run" / "state").glob("*.pt")
    saved = torch.load(path, weights_only=True)
    saved["own"][0]["tally"]["owed"] = 0
    torch.save(saved, path)
    path.with_suffix(".sha256").write_text(f"{file_sha256(path)}  {path.name}\n")
    status, screen, _ = train(TRAIN_PATH=posts_csv, RESUME=True)
    assert status == 0 and "saved by an earlier version" in screen


def test_a_run_interrupted_while_it_validates_repeats_only_the_validation(train, reference, tmp_path, monkeypatch):
    table, run = reference
    with monkeypatch.context() as patch:
        evaluate = script.evaluate
        patch.setattr(script, "evaluate", lambda *arguments: (os.kill(os.getpid(), signal.SIGINT), evaluate(*arguments))[1])
        assert train(TRAIN_PATH=table, **SMALL)[0] == 130
    status, screen, _ = train(TRAIN_PATH=table, RESUME=True, **SMALL)
    assert status == 0 and "epoch 1, after 12 optimizer steps" in screen
    assert_same(tmp_path / "run", run)


def test_accumulated_steps_and_a_run_without_saves_in_between_resume_as_exactly(train, reference, tmp_path, monkeypatch):
    table, _ = reference
    constants = SMALL | {"TRAIN_PATH": table, "GRADIENT_ACCUMULATION_STEPS": 5, "SAVE_EVERY": 0}
    train(**constants, OUTPUT_DIR=tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        assert train(**constants)[0] == 130
    assert train(**constants, RESUME=True)[0] == 0
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_resuming_where_nothing_was_saved_begins_at_the_start_and_a_finished_run_is_left_alone(train, reference, tmp_path):
    table, run = reference
    status, screen, _ = train(TRAIN_PATH=table, RESUME=True, **SMALL)
    assert status == 0 and "has no saved state: the run begins at the start" in screen
    assert_same(tmp_path / "run", run)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "state").iterdir()}
    status, screen, _ = train(TRAIN_PATH=table, RESUME=True, **SMALL)
    assert status == 0 and "is finished: nothing is left to train" in screen and "this model" in screen
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "state").iterdir()}


def interrupted_run(train, table, monkeypatch, step=8):
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        assert train(TRAIN_PATH=table, **SMALL)[0] == 130


def test_other_constants_are_refused_by_name_and_value_and_harmless_ones_are_told(
        train, reference, tmp_path, monkeypatch):
    table, run = reference
    interrupted_run(train, table, monkeypatch)
    status, _, errors = train(TRAIN_PATH=table, RESUME=True, **SMALL | {"LEARNING_RATE": 1e-4, "DROPOUT": 0.2})
    assert status == 2 and errors.count("\n") == 1
    assert "DROPOUT was 0.3 and is 0.2; LEARNING_RATE was 5e-05 and is 0.0001." in errors
    moved = tmp_path / "moved.csv"
    moved.write_bytes(table.read_bytes())
    status, screen, _ = train(TRAIN_PATH=moved, RESUME=True, **SMALL | {"SAVE_EVERY": 100})
    assert status == 0 and "TRAIN_PATH, SAVE_EVERY changed since, which changes nothing of what is learned" in screen
    assert_same(tmp_path / "run", run)


def test_a_changed_training_file_is_refused(train, reference, tmp_path, monkeypatch):
    table, _ = reference
    changed = tmp_path / "changed.csv"
    changed.write_bytes(table.read_bytes())
    interrupted_run(train, changed, monkeypatch)
    with open(changed, "a") as file:
        file.write("the phone is dull,Neutral\n")
    status, _, errors = train(TRAIN_PATH=changed, RESUME=True, **SMALL)
    assert status == 2 and "was begun with another training file than" in errors and errors.count("\n") == 1


# Saved states

def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_newest_state_is_passed_over_for_the_one_before(train, reference, tmp_path, monkeypatch):
    table, run = reference
    interrupted_run(train, table, monkeypatch)
    older, newest = sorted((tmp_path / "run" / "state").glob("*.pt"))
    damage(newest)
    status, screen, _ = train(TRAIN_PATH=table, RESUME=True, **SMALL)
    assert status == 0 and f"passed over {newest}: its checksum differs" in screen and "after 6 optimizer steps" in screen
    assert_same(tmp_path / "run", run)


def test_a_run_with_nothing_but_damaged_states_is_refused(train, reference, tmp_path, monkeypatch):
    table, _ = reference
    interrupted_run(train, table, monkeypatch)
    for path in (tmp_path / "run" / "state").glob("*.pt"):
        damage(path)
    status, _, errors = train(TRAIN_PATH=table, RESUME=True, **SMALL)
    assert status == 2 and "none of the 2 saved states is whole" in errors


def test_a_best_model_that_a_lost_epoch_wrote_over_is_not_passed_off_as_the_states(train, reference, tmp_path, monkeypatch):
    table, run = reference
    interrupted_run(train, table, monkeypatch, step=14)
    damage(tmp_path / "run" / "best" / "model.safetensors")
    assert train(TRAIN_PATH=table, RESUME=True, **SMALL)[0] == 0
    assert metrics(tmp_path / "run") and BertSentimentClassifier.from_pretrained(tmp_path / "run" / "best")


def test_states_carry_a_checksum_that_sha256sum_knows_and_two_are_kept(reference):
    _, run = reference
    states = sorted((run / "state").iterdir())
    assert [path.name for path in states] == [
        "epoch-0003-step-000000036.pt", "epoch-0003-step-000000036.sha256",
        "epoch-0004-step-000000036.pt", "epoch-0004-step-000000036.sha256"]
    checked = subprocess.run(["sha256sum", "-c", states[-1].name], cwd=run / "state", capture_output=True, text=True)
    assert checked.stdout == "epoch-0004-step-000000036.pt: OK\n"


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_a_crafted_pickle_among_the_states_is_refused_and_never_run(train, reference, tmp_path, monkeypatch):
    table, _ = reference
    interrupted_run(train, table, monkeypatch)
    mark = str(tmp_path / "ran")
    for path in (tmp_path / "run" / "state").glob("*.pt"):
        torch.save({"about": "{}", "model": Evil(mark)}, path)
        checksum = file_sha256(path)
        path.with_suffix(".sha256").write_text(f"{checksum}  {path.name}\n")
    status, screen, errors = train(TRAIN_PATH=table, RESUME=True, **SMALL)
    assert status == 2 and "more than tensors and plain values" in screen and "none of the 2" in errors
    assert not os.path.exists(mark)
    with open(tmp_path / "run" / "state" / "plain.pt", "wb") as file:
        pickle.dump(Evil(mark), file)
    (tmp_path / "run" / "state" / "plain.sha256").write_text(
        f"{file_sha256(tmp_path / 'run' / 'state' / 'plain.pt')}  plain.pt\n")
    assert train(TRAIN_PATH=table, RESUME=True, **SMALL)[0] == 2 and not os.path.exists(mark)


def test_nothing_in_the_project_unpickles_or_trusts_remote_code():
    for path in [*ROOT.glob("*.py"), *ROOT.glob("data/*.py"), *ROOT.glob("diagnosis/**/*.py")]:
        source = path.read_text("utf-8")
        assert "trust_remote_code" not in source, path
        unsafe = r"\bpickle\.(load|loads|Unpickler)\b|\bjoblib\b|\bdill\b|allow_pickle=True|weights_only=False"
        assert not re.search(unsafe, source), path
        for call in re.findall(r"torch\.load\([^\n]*", source):
            assert "weights_only=True" in call, (path, call)


def test_a_killed_run_ends_with_the_reference_weights(python):
    command = [python, ROOT / "tests" / "reliability" / "kills.py", "--kills=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 resumed runs end with the reference weights, bit for bit" in done.stdout


# Leaving

def test_a_second_ctrl_c_leaves_at_once_and_earlier_states_stay(python, tiny_encoder, reference, tmp_path):
    table, run = reference
    constants = {"TRAIN_PATH": table, "MODEL_NAME": tiny_encoder, "MAX_LENGTH": 32, "OUTPUT_DIR": tmp_path / "run", **SMALL}
    code = ("import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv.pop(1))\n"
            "import BERT_main_aggressive as script\n"
            "take_step = script.take_step\n"
            "def slow(*arguments):\n"
            "    if len(list(Path(sys.argv[1]).glob('state/*.sha256'))) == 2: time.sleep(60)\n"
            "    return take_step(*arguments)\n"
            "script.take_step = slow\n"
            "sys.exit(script.main(sys.argv[2:]))")
    process = subprocess.Popen([python, "-c", code, ROOT, tmp_path / "run",
                                *(f"--{name}={value}" for name, value in constants.items())],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(list((tmp_path / "run" / "state").glob("*.sha256"))) == 2)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert "once more leaves at once" in process.stderr.readline() + process.stderr.readline()
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130 and time.monotonic() - began < 10
    arguments = [f"--{name}={value}" for name, value in constants.items()]
    assert script.main([*arguments, "--RESUME=True"]) == 0
    assert_same(tmp_path / "run", run)


def wait_until(true, seconds=120):
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.02)


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_lives(train, reference, tmp_path, monkeypatch):
    table, _ = reference
    interrupted_run(train, table, monkeypatch)
    code = ("import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
            "print('held', flush=True); time.sleep(600)")
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path / "run" / "lock"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        status, _, errors = train(TRAIN_PATH=table, RESUME=True, **SMALL)
        assert status == 2 and "another run is at work there" in errors and errors.count("\n") == 1
    finally:
        holder.kill()
        holder.wait()
    assert train(TRAIN_PATH=table, RESUME=True, **SMALL)[0] == 0


def test_two_runs_that_begin_at_once_get_folders_of_their_own(train, reference, tmp_path, monkeypatch):
    table, _ = reference
    prepare = script.prepare

    def outrun(*arguments):
        run = prepare(*arguments)
        (tmp_path / "run").mkdir()      # by the other run, after the folder was chosen
        return run

    monkeypatch.setattr(script, "prepare", outrun)
    status, screen, _ = train(TRAIN_PATH=table)
    assert status == 0 and f"results    {tmp_path / 'run-2'}, " in screen and not list((tmp_path / "run").iterdir())


# Numbers gone wrong

def bert_that_breaks_at(word, folder):
    """A tiny BERT, saved in the folder, whose embedding of a word is NaN."""
    encoder = tiny_bert(folder)
    weights = load_file(encoder / "model.safetensors")
    vocabulary = json.loads((encoder / "tokenizer.json").read_text())["model"]["vocab"]
    weights["embeddings.word_embeddings.weight"][vocabulary[word]] = float("nan")
    save_file(weights, encoder / "model.safetensors", metadata={"format": "pt"})
    return encoder


def test_a_validation_loss_that_is_nan_stops_the_run_and_names_the_rows(train, tmp_path):
    plain = [row for row in posts(200) if "holiday" not in row[0]]
    training = write_csv(tmp_path / "t.csv", plain[:80])
    validation = write_csv(tmp_path / "v.csv", [*plain[80:90], ("my cousin on holiday", "Irrelevant"), *plain[90:100]])
    status, _, errors = train(TRAIN_PATH=training, VAL_PATH=validation,
                              MODEL_NAME=bert_that_breaks_at("holiday", tmp_path / "tiny"))
    last = errors.splitlines()[-1]
    assert status == 1 and last.startswith("error: epoch 1: the validation loss is not finite; ")
    assert f"its rows begin on these lines of {validation}: 12;" in last


@on_both_devices
def test_a_loss_that_is_nan_stops_the_run_and_names_the_rows(device, train, tmp_path):
    encoder = bert_that_breaks_at("holiday", tmp_path / "tiny")
    plain = [row for row in posts(200) if "holiday" not in row[0]]
    table = write_csv(tmp_path / "posts.csv", [*plain[:100], ("my cousin on holiday", "Irrelevant"), *plain[100:]])
    for split in range(1, 20):      # the row is drawn for training, not for validation
        status, _, errors = train(TRAIN_PATH=table, MODEL_NAME=encoder, BATCH_SIZE=8, SAVE_EVERY=1, SEED=split)
        if status:
            break
    errors = errors.splitlines()[-1]        # before it, the progress of saving the tiny BERT
    assert status == 1
    assert re.search(r"^error: epoch 1: the loss is not finite at step \d+ of the epoch", errors)
    lines = re.search(r"lines of .*?posts.csv: ([\d, ]+);", errors)[1].split(", ")
    assert "102" in lines and len(lines) == 8


@on_both_devices
def test_a_gradient_that_is_nan_under_a_finite_loss_stops_the_run(device):
    model, loader, precision = small_model().to(device), loader_of(random_rows(32), 8), fp32(device)
    optimizer, schedule, _ = setup(model, loader)
    model.classifier[0].weight.register_hook(lambda gradient: gradient * float("nan"))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(NumbersGoneWrong, match="a gradient is not finite at step 1 of the epoch") as error:
        script.train_epoch(Learner(model, optimizer, schedule, precision, precision.scaler()), loader)
    assert len(error.value.rows) == 8
    if device == "cpu":     # on CUDA the host hears of it a few steps later
        assert all(torch.equal(parameter, kept) for parameter, kept in zip(model.parameters(), before))


@on_both_devices
def test_a_scaler_that_skips_more_than_twenty_steps_in_a_row_stops_the_run(device):
    model, loader = small_model().to(device), loader_of(random_rows(400), 8)
    optimizer, schedule, _ = setup(model, loader)
    scaler = torch.amp.GradScaler(device, init_scale=2.0**120)
    with pytest.raises(NumbersGoneWrong, match="skipped 21 steps in a row, up to step 21"):
        script.train_epoch(Learner(model, optimizer, schedule, fp16(device), scaler), loader)


@on_both_devices
def test_skipped_steps_in_a_row_are_counted_across_epochs(device, train, posts_csv, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "choose_precision",
                        lambda enable_fp16, begun: HopelessScale(torch.device(device), torch.float16, "fp16"))
    status, screen, errors = train(TRAIN_PATH=posts_csv, NUM_EPOCHS=12, EARLY_STOPPING_PATIENCE=0)
    assert status == 1 and errors.count("\n") == 1, errors
    assert "epoch 4: the scaler has skipped 21 steps in a row, up to step 3 of the epoch" in errors     # 6 an epoch


class HopelessScale(Precision):
    """A scale at which every gradient overflows, and that is not lowered."""

    def scaler(self):
        return torch.amp.GradScaler(self.device.type, init_scale=2.0**120, backoff_factor=1.0 - 1e-9)


def test_out_of_memory_before_the_first_step_is_told_in_one_line(train, posts_csv, monkeypatch):
    monkeypatch.setattr(script, "begin_to_find_encoder", lambda name: torch.empty(10**15))
    status, _, errors = train(TRAIN_PATH=posts_csv)
    assert status == 1 and errors.startswith("error: out of memory: ") and errors.count("\n") == 1


@on_cuda
@pytest.mark.skipif(not pretended.is_here(), reason="a GPU's memory cannot be made short")
@pytest.mark.parametrize("owner, place, more", [
    (BertSentimentClassifier, "to", 1_000), (BertSentimentClassifier, "run_end_to_end", 10_000),
    (script, "train_epochs", 100_000)], ids=["the model", "the check of texts end to end", "the first step"])
def test_a_device_that_runs_out_of_memory_is_told_in_one_line_wherever_it_does(
        device, train, posts_csv, monkeypatch, owner, place, more):
    work = getattr(owner, place)

    def short_of_memory(*arguments):
        with pretended.memory(more):
            return work(*arguments)

    steps = []
    monkeypatch.setattr(script, "after_step", lambda *arguments: steps.append(1))
    monkeypatch.setattr(owner, place, short_of_memory)
    status, screen, errors = train(TRAIN_PATH=posts_csv)
    assert status == 1 and not steps and "cannot run texts end to end" not in screen
    assert errors.startswith("error: out of memory: CUDA out of memory. Tried to allocate") and errors.count("\n") == 1
    assert "BATCH_SIZE=16 with GRADIENT_ACCUMULATION_STEPS=2" in errors


@on_cuda
@pytest.mark.skipif(not pretended.is_here(), reason="a GPU's allocator keeps what it has")
def test_a_run_needs_its_most_memory_in_the_first_two_steps(device, train, tmp_path, monkeypatch):
    rows = [(text + " and it is the phone" * (3 * (row < 20)), label) for row, (text, label) in enumerate(posts(200))]
    after_step, most = script.after_step, []
    monkeypatch.setattr(script, "after_step", lambda *given: (
        after_step(*given), most.append(torch.cuda.max_memory_allocated())))
    torch.cuda.reset_peak_memory_stats()
    assert train(TRAIN_PATH=write_csv(tmp_path / "posts.csv", rows), BATCH_SIZE=8, GRADIENT_ACCUMULATION_STEPS=2)[0] == 0
    assert most[0] < most[1] == most[-1] and len(most) == 12


@pytest.mark.parametrize("limit, told", [("max", None), (str(10**9), 10**9)])
def test_a_containers_limit_counts_as_the_memory_there_is(tmp_path, limit, told):
    (tmp_path / "memory.max").write_text(limit + "\n")
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_bytes([tmp_path / "memory.max", tmp_path / "not there"]) == (told or machine)


# Short of disk or memory

@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_ends_in_one_line_with_the_last_state_whole_and_the_best_model_loadable(train, reference, small_disk):
    table, run = reference
    state = max(run.glob("state/*.pt")).stat().st_size
    best = sum(path.stat().st_size for path in (run / "best").iterdir())
    room = int(2.5 * state) + best + 60_000     # for the states of two epochs, but not for a third beside them
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
    status, _, errors = train(TRAIN_PATH=table, OUTPUT_DIR=small_disk / "run", **SMALL | {"SAVE_EVERY": 0})
    assert status == 1 and errors.count("\n") == 1 and "No space left on device" in errors and "last whole state" in errors
    assert BertSentimentClassifier.from_pretrained(small_disk / "run" / "best")
    (small_disk / "other").unlink()
    assert train(TRAIN_PATH=table, OUTPUT_DIR=small_disk / "run", RESUME=True, **SMALL | {"SAVE_EVERY": 0})[0] == 0
    assert_same(small_disk / "run", run)


@pytest.mark.parametrize("batch, accumulation, head, advice", [
    (32, 1, "batchnorm", "BATCH_SIZE=16 with GRADIENT_ACCUMULATION_STEPS=2"),
    (48, 2, "linear", "BATCH_SIZE=24 with GRADIENT_ACCUMULATION_STEPS=4"),
    (9, 1, "linear", "BATCH_SIZE=3 with GRADIENT_ACCUMULATION_STEPS=3"),
    (2, 1, "batchnorm", "a smaller MAX_LENGTH needs less memory")])
def test_out_of_memory_says_what_was_asked_and_which_constants_need_less(batch, accumulation, head, advice):
    settings = SimpleNamespace(BATCH_SIZE=batch, GRADIENT_ACCUMULATION_STEPS=accumulation, HEAD=head)
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15)
    assert out_of_memory(error.value)
    for words in ("CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"):
        assert out_of_memory(RuntimeError(words))
    told = memory_advice(error.value, settings)
    assert advice in told and "tried to allocate 4000000000000000 bytes" in told
    cuda = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.6 GiB "
                                  "of which 1.2 GiB is free. Process 7 has 22 GiB memory in use.")
    told = memory_advice(cuda, settings)
    assert "Tried to allocate 2.00 GiB" in told and "1.2 GiB is free" in told and "\n" not in told


def test_a_run_that_needs_more_memory_than_there_is_says_so_in_one_line(python, tiny_encoder, tmp_path):
    table = write_csv(tmp_path / "posts.csv", posts(4000))
    code = ("import resource, sys; sys.path.insert(0, sys.argv.pop(1)); import BERT_main_aggressive as script\n"
            "train_epochs = script.train_epochs\n"
            "def limited(*parts):\n"
            "    now = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
            "    resource.setrlimit(resource.RLIMIT_AS, (now + 20_000_000,) * 2)\n"
            "    return train_epochs(*parts)\n"
            "script.train_epochs = limited\n"
            "sys.exit(script.main(sys.argv[1:]))")
    done = subprocess.run([python, "-c", code, ROOT, f"--TRAIN_PATH={table}", f"--MODEL_NAME={tiny_encoder}",
                           "--MAX_LENGTH=32", "--BATCH_SIZE=3600", f"--OUTPUT_DIR={tmp_path / 'run'}"],
                          capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: out of memory: ") and "BATCH_SIZE=1800 with GRADIENT_ACCUMULATION_STEPS=2" in last


def test_memory_stays_flat_over_hundreds_of_steps(python):
    command = [python, ROOT / "tests" / "reliability" / "memory.py", "--steps=300"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and re.search(r"resident memory: .* after 300: [+-]0\.\d\d%", done.stdout), done.stderr
