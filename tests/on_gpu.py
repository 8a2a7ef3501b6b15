"""What only a GPU can answer, in one command; one page holds the answers and the raw output.

    python tests/on_gpu.py                              all parts, with limits of two hours in all
    python tests/on_gpu.py --only="ways|doctor"         the parts whose names match
    python tests/on_gpu.py --rows=6400 --rounds=5 --TRAIN_PATH=...      any constant of BERT_main_aggressive.py
    python tests/on_gpu.py --encoder=models/mine        this encoder in place of bert-base's size and the embedded one

Each part is a process with its own time limit: one that fails, hangs or is killed is told in its row, and the others
go on. The page, runs/on_gpu.md, is written anew behind each, so that what is known by then is kept. Nothing of the card is
set.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "benchmarks"), str(ROOT / "tests" / "reliability")]
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")     # read when CUDA starts; DETERMINISTIC needs it

import torch
import transformers

BERT_BASE = "bert-base"
COMPARED = "^(naive|trainer|trainer (grouped|flash)|script padded)$"   # and the script: all but compiled and in fp32
MAKES_WAIT = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize")     # in CUDA's own words
PROFILED_STEPS = 20


@dataclass
class Part:
    """One question: the command that answers it, and what came of it."""
    name: str
    minutes: float
    command: list
    outcome: str = "not yet run"
    seconds: float = 0.0
    answer: str = ""        # what it printed, in markdown
    raw: str = ""           # what it wrote on standard error


def plan(options, constants):
    """The parts, in the order in which they are run."""
    wanted = [f"--rounds={options.rounds}", f"--rows={options.rows}"]
    encoders = {"the given encoder": [f"--encoder={options.encoder}"]} if options.encoder else \
        {BERT_BASE: [f"--size={BERT_BASE}"], "the embedded encoder": []}

    def throughput(*arguments):
        return [sys.executable, ROOT / "tests" / "benchmarks" / "throughput.py", *wanted, *arguments, *constants]

    def own(part):
        encoder = [f"--encoder={options.encoder}"] if options.encoder else []
        return [sys.executable, __file__, f"--part={part}", *wanted, *encoder, *constants]

    return [
        Part("tests", 20, [sys.executable, "-m", "pytest", "-q", "-m", "cuda", ROOT / "tests"]),
        *(Part(f"ways, {name}", 10, throughput(*which, f"--only={COMPARED}")) for name, which in encoders.items()),
        *(Part(f"cache, {name}", 8, throughput(*which, "--cache", "--FREEZE_STRATEGY=full"))
          for name, which in encoders.items()),
        *(Part(f"torch.compile, {name}", 10, throughput(*which, "--only=compiled"))
          for name, which in encoders.items()),
        *(Part(name, minutes, own(name)) for name, (minutes, _) in OWN_PARTS.items())]


# Parts of its own, each in a process of its own

def encoder_folder(options, folder):
    """The encoder asked for, or one of bert-base's size with random weights, saved in the folder."""
    if options.encoder:
        return options.encoder
    import throughput
    _, tokenizer = throughput.load_encoder(throughput.embedded_encoder("for its tokenizer"))
    transformers.set_seed(0)
    transformers.BertModel(transformers.BertConfig()).save_pretrained(folder / BERT_BASE)   # its defaults' size
    tokenizer.save_pretrained(folder / BERT_BASE)
    return folder / BERT_BASE


@contextlib.contextmanager
def device_memory():
    """A list whose last number is the most memory that the device had given in this context, beyond that before it."""
    before, most, ended = torch.cuda.mem_get_info()[0], [0], threading.Event()

    def watch():
        while not ended.wait(0.1):
            most.append(max(most[-1], before - torch.cuda.mem_get_info()[0]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        ended.set()
        watcher.join()


def doctor(options, constants, folder):
    """How long the doctor takes, and how much of the device."""
    command = [sys.executable, ROOT / "diagnose_bert.py", f"--MODEL_NAME={encoder_folder(options, folder)}",
               f"--REPORT_DIR={folder / 'diagnosis'}", *constants]
    began = time.perf_counter()
    with device_memory() as most:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    seconds = time.perf_counter() - began
    print(done.stdout, file=sys.stderr)
    require(done.returncode in (0, 1), f"the doctor ended with status {done.returncode}")
    verdict = json.loads((folder / "diagnosis" / "report.json").read_text("utf-8"))["verdict"]
    return ["| the doctor, seconds | GB of the device at most | what it says |", "| --- | --- | --- |",
            f"| {seconds:.1f} | {most[-1] / 1e9:.1f} | {verdict} |"]


def train(folder, options, constants, encoder, **changes):
    """The training script in this process, in a folder of results; its exit status."""
    import BERT_main_aggressive as script
    changes = {"MODEL_NAME": encoder, "OUTPUT_DIR": folder, "NUM_EPOCHS": 2, "MAX_TRAIN_ROWS": options.rows,
               "EARLY_STOPPING_PATIENCE": 0} | changes
    with contextlib.redirect_stdout(sys.stderr):
        return script.main([*constants, *(f"--{name}={value}" for name, value in changes.items())])


def leave_once_saved(folder):
    """Send this process Ctrl-C as soon as the run in the folder has saved a state."""
    def watch():
        ends = time.monotonic() + 300
        while not list(folder.glob("state/*.sha256")) and time.monotonic() < ends:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def resume(options, constants, folder):
    """Is a run that was left and resumed the same bit for bit under DETERMINISTIC, and what does that cost?"""
    from kills import outcome, same
    encoder = encoder_folder(options, folder)
    whole, left = folder / "whole", folder / "left"
    saved = {"DETERMINISTIC": True, "SAVE_EVERY": 3}
    require(train(whole, options, constants, encoder, **saved) == 0, "the run that nobody left failed")
    leave_once_saved(left)
    require(train(left, options, constants, encoder, **saved) == 130, "the run was not left by Ctrl-C")
    require(train(left, options, constants, encoder, RESUME=True, **saved) == 0, "the resumed run failed")
    alike = same(outcome(whole), outcome(left))
    rates = {deterministic: script_rate(options, constants, deterministic) for deterministic in (False, True)}
    return ["| left and resumed under DETERMINISTIC | examples/s without | with | so many times as slow |",
            "| --- | --- | --- | --- |",
            f"| {'the same bit for bit' if alike else 'NOT the same'} | {rates[False]:,.1f} | {rates[True]:,.1f} | "
            f"{rates[False] / rates[True]:.2f} |"]


def script_rate(options, constants, deterministic):
    """Examples a second of the script, median of the rounds."""
    import throughput
    from training.run.process import process_set_up
    settings = throughput.script.settings_from([*constants, *(f"--MODEL_NAME={options.encoder}" for _ in [0]
                                                              if options.encoder)])
    with process_set_up(deterministic), contextlib.redirect_stdout(sys.stderr):
        by_way, told = throughput.compare(settings, options.rounds, options.rows, "" if options.encoder else BERT_BASE,
                                          f"^{throughput.SCRIPT}$")
        print(told)
    return by_way[throughput.SCRIPT]["examples"]


def determinism(options, constants, folder):
    """Does the same seed give the same weights twice?"""
    from kills import outcome, same
    encoder, lines = encoder_folder(options, folder), []
    for deterministic in (False, True):
        folders = [folder / f"{deterministic}-{number}" for number in (1, 2)]
        for each in folders:
            require(train(each, options, constants, encoder, DETERMINISTIC=deterministic, NUM_EPOCHS=1) == 0,
                    "the run failed")
        alike = same(*map(outcome, folders))
        lines.append(f"| {deterministic} | {'the same bit for bit' if alike else 'others'} |")
    return ["| DETERMINISTIC | weights and figures of a second run with the same seed |", "| --- | --- |", *lines]


def waits(options, constants, folder):
    """What makes the host wait for the device in a step."""
    import throughput
    from torch.profiler import profile, supported_activities
    encoder = [f"--MODEL_NAME={options.encoder}"] if options.encoder else []
    settings = throughput.script.settings_from([*constants, *encoder, f"--OUTPUT_DIR={folder / 'run'}"])
    with contextlib.redirect_stdout(sys.stderr):
        precision = throughput.choose_precision(settings.ENABLE_FP16)
        training, _, names = throughput.read_rows(settings)
        _, rows = throughput.draw_rows(settings, training, min(options.rows, PROFILED_STEPS * settings.BATCH_SIZE))
        model = throughput.starting_model(settings, names, precision, "" if options.encoder else BERT_BASE)
        train_epoch, steps = throughput.script_training(settings, model, rows, precision, epochs=2)
        train_epoch(1)
        with profile(activities=supported_activities()) as profiled, warned_of_waits() as warned:
            train_epoch(2)
    events = {event.key: event for event in profiled.key_averages()}
    print(profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=40), file=sys.stderr)
    seen = [(name, events[name].count, events[name].cpu_time_total / 1000) for name in MAKES_WAIT if name in events]
    return [f"| what makes the host wait in an epoch of {steps // 2} steps, its end among them | times | ms in all |",
            "| --- | --- | --- |", f"| operations that torch calls synchronizing | {len(warned)} | |",
            *(f"| {name} | {count} | {milliseconds:.1f} |" for name, count, milliseconds in seen)]


@contextlib.contextmanager
def warned_of_waits():
    """A list that gets torch's warnings of operations which make the host wait for the device."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", message="called a synchronizing CUDA operation")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield warned
        finally:
            torch.cuda.set_sync_debug_mode("default")


OWN_PARTS = {"doctor": (8, doctor), "resume": (12, resume), "determinism": (10, determinism), "waits": (5, waits)}


def require(true, what):
    if not true:
        raise RuntimeError(what)


# The page

def run_part(part):
    """Run a part's process to its end or the end of its time."""
    began = time.monotonic()
    file = partial(tempfile.TemporaryFile, "w+", errors="replace")
    with file() as answer, file() as raw:
        process = subprocess.Popen(part.command, stdout=answer, stderr=raw, cwd=ROOT, start_new_session=True)
        try:
            status = process.wait(60 * part.minutes)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with contextlib.suppress(ProcessLookupError):       # whatever it has started and left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answer.seek(0), raw.seek(0)
        part.answer, part.raw, part.seconds = answer.read().strip(), raw.read().strip(), time.monotonic() - began
    last = (part.raw.splitlines() or part.answer.splitlines() or [""])[-1][:200]
    part.outcome = "done" if status == 0 else f"out of time: {part.minutes:g} min were not enough" if status is None \
        else f"failed, status {status}: {last}".replace("|", "\\|")


def machine():
    return (f"{torch.cuda.get_device_name()}, {torch.cuda.get_device_properties(0).total_memory / 1e9:.0f} GB; torch "
            f"{torch.__version__} with CUDA {torch.version.cuda}, transformers {transformers.__version__}, Python "
            f"{platform.python_version()}, {os.cpu_count()} cores; {datetime.date.today()}")


def page(parts):
    """The markdown of all that is known by now."""
    lines = ["# Measured on a GPU", "", machine(), "", "| part | outcome | seconds |", "| --- | --- | --- |"]
    lines += [f"| {part.name} | {part.outcome} | {part.seconds:.0f} |" for part in parts]
    lines += ["", "## For the README"]
    for part in parts:
        if part.outcome == "done" and part.name != "tests":
            lines += ["", f"### {part.name}", "", part.answer]
    lines += ["", "## Raw output"]
    for part in parts:
        shown = [f"$ {' '.join(map(str, part.command))}", part.raw, part.answer]
        lines += ["", f"### {part.name}", "", "````text", *filter(None, shown), "````"]
    return "\n".join(lines) + "\n"


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--only", default="", help="a regular expression for the names of the parts")
    parser.add_argument("--page", default=ROOT / "runs" / "on_gpu.md", type=Path,
                        help="the file that is written (default: runs/on_gpu.md)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each way")
    parser.add_argument("--rows", type=int, default=1600, help="rows trained on in each measurement")
    parser.add_argument("--encoder", default="", help="a folder or a name, as MODEL_NAME")
    parser.add_argument("--part", choices=OWN_PARTS, help=argparse.SUPPRESS)    # what the processes are called with
    options, constants = parser.parse_known_args(arguments)
    if not torch.cuda.is_available():
        print("error: no CUDA device is here", file=sys.stderr)
        return 2
    if options.part:
        with tempfile.TemporaryDirectory() as folder:
            print("\n".join(OWN_PARTS[options.part][1](options, constants, Path(folder))))
        return 0
    parts = plan(options, constants)
    try:
        chosen = [part for part in parts if re.search(options.only, part.name)]
    except re.error as error:
        print(f"error: --only: {options.only!r} is no regular expression: {error}", file=sys.stderr)
        return 2
    if not chosen:
        print(f"error: --only: no part's name matches {options.only!r}; there are "
              f"{'; '.join(part.name for part in parts)}", file=sys.stderr)
        return 2
    return measure(chosen, options.page)


def measure(parts, file):
    """Run the parts, the page written anew behind each; the exit status."""
    file.parent.mkdir(parents=True, exist_ok=True)
    for part in parts:
        print(f"{part.name} ...", end=" ", flush=True)
        try:
            run_part(part)
        except KeyboardInterrupt:
            print(f"interrupted; what was measured by then: {file}", file=sys.stderr)
            return 130
        print(f"{part.outcome} ({part.seconds:.0f} s)")
        file.write_text(page(parts), "utf-8")
    print(f"written: {file}")
    return int(any(part.outcome != "done" for part in parts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
