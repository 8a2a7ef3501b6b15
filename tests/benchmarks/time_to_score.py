"""How soon each way reaches a score: this script, the Trainer, and two linear models, on the same rows and test rows.

    python tests/benchmarks/time_to_score.py --TRAIN_PATH=... --TEST_SHARE=0.1 [any constant of BERT_main_aggressive.py]
    python tests/benchmarks/time_to_score.py --rounds=3 --picture=time_to_score.svg --TRAIN_PATH=... --TEST_SHARE=0.1

`guide` and `measured` are this script with either RECIPE. `trainer` is transformers' Trainer with its defaults, three
epochs among them, and its own classification head, `trainer grouped` the same with rows of like length together.
`frozen features` is logistic regression on what the encoder's pooling gives, `LinearSVC` sees words alone.
All read the same training rows, and the test rows' accuracy is taken after each epoch, whose scoring does not count;
nor do loading, tokenizing and the script's validation. The ways alternate, round after round, and a way's seconds are
its rounds' median; they are those of the processor where torch has one thread on a CPU. The Trainer needs what
tests/requirements.txt names.
"""

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
import transformers
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from throughput import clock, clock_name

import BERT_main_aggressive as script
from training.constants import ConstantError
from training.encoder.finding import EncoderError, find_encoder, quiet_transformers
from training.precision import choose_precision
from training.run.baseline import WORD
from training.run.data import make_loaders, prepare_data
from training.run.team import ALONE
from training.settings import SettingError
from training.texts.batches import encode
from training.texts.refusal import TableError

BATCH = 32          # rows of the Trainer's model that are scored at once
REFERENCE = "trainer"


def quietly(function, *arguments):
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*arguments)


# The ways: each returns its points, (seconds of training so far, accuracy on the test rows)

def this_script(arguments, device):
    """BERT_main_aggressive.py, its epochs timed and scored from outside."""
    points, spent, originals = [], [0.0], (script.train_epoch, script.finish_epoch)

    def train_epoch(*given):
        began = clock(device)
        seen = originals[0](*given)
        spent[0] += clock(device) - began
        return seen

    def finish_epoch(of_run, learner, *others):
        logits, _ = script.evaluate(learner.kept, of_run.test.loader, learner.precision)
        points.append((spent[0], float((logits.argmax(dim=1).numpy() == of_run.test.labels).mean())))
        originals[1](of_run, learner, *others)

    script.train_epoch, script.finish_epoch = train_epoch, finish_epoch
    try:
        with tempfile.TemporaryDirectory() as folder:
            status = quietly(script.main, [*arguments, "--SAVE_EVERY=0", f"--OUTPUT_DIR={folder}/run"])
    finally:
        script.train_epoch, script.finish_epoch = originals
    if status:
        raise SystemExit(f"the script ended with status {status}")
    return points


class Scoring(transformers.TrainerCallback):
    """The clock, stopped while the test rows are scored at each epoch's end."""

    def __init__(self, device, score):
        self.device, self.score, self.points, self.paused = device, score, [], 0.0

    def on_train_begin(self, arguments, state, control, **others):
        self.began = clock(self.device)

    def on_epoch_end(self, arguments, state, control, model=None, **others):
        now = clock(self.device)
        self.points.append((now - self.began - self.paused, self.score(model)))
        self.paused += clock(self.device) - now


def trainer(settings, data, device, **arguments):
    """transformers' Trainer with its defaults, and a new head on the encoder as transformers makes it."""
    transformers.set_seed(settings.SEED)
    source = find_encoder(settings.MODEL_NAME)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.path)
    with quiet_transformers():
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            source.path, num_labels=len(data.names), dtype=torch.float32)

    def tokenized(table):
        return tokenizer(list(table.texts), list(table.seconds) or None, truncation=True,
                         max_length=settings.MAX_LENGTH)

    rows = tokenized(data.training)
    rows = [{name: values[row] for name, values in rows.items()} | {"labels": label}
            for row, label in enumerate(data.training_labels.tolist())]
    test = tokenized(data.test.table)
    scoring = Scoring(device, lambda model: accuracy_of(model, test, data.test.labels, tokenizer, device))
    with tempfile.TemporaryDirectory() as folder:
        run = transformers.Trainer(model, transformers.TrainingArguments(
            folder, seed=settings.SEED, use_cpu=device.type == "cpu",
            report_to=[], save_strategy="no", disable_tqdm=True, **arguments), train_dataset=rows,
            data_collator=transformers.DataCollatorWithPadding(tokenizer), callbacks=[scoring])
        run.remove_callback(transformers.PrinterCallback)
        run.train()
    return scoring.points


@torch.no_grad()
def accuracy_of(model, inputs, labels, tokenizer, device):
    """Of a model of transformers, on tokenized rows."""
    was_training = model.training
    model.eval()
    order = sorted(range(len(labels)), key=lambda row: len(inputs["input_ids"][row]))
    right = 0
    for start in range(0, len(order), BATCH):
        rows = order[start:start + BATCH]
        batch = tokenizer.pad({name: [values[row] for row in rows] for name, values in inputs.items()},
                              return_tensors="pt")
        right += int((model(**batch.to(device)).logits.argmax(dim=1).cpu().numpy() == labels[rows]).sum())
    model.train(was_training)
    return right / len(labels)


def frozen_features(settings, data, device):
    """Logistic regression on what the encoder, which is not trained, gives of each text."""
    precision = choose_precision(settings.ENABLE_FP16)
    model = quietly(script.prepare_model, settings, data.names, find_encoder(settings.MODEL_NAME), precision, ALONE)
    model.classifier = torch.nn.Identity()
    sets = [encode(table.texts, labels, model.tokenizer, settings.MAX_LENGTH, table.seconds)
            for table, labels in data.tables()]
    _, training, test = make_loaders(settings, [sets[0], sets[0], sets[2]], model)
    began = clock(device)
    features, _ = script.evaluate(model, training, precision)
    regression = LogisticRegression(max_iter=1000).fit(features.numpy(), data.training_labels)
    seconds = clock(device) - began
    return [(seconds, regression.score(script.evaluate(model, test, precision)[0].numpy(), data.test.labels))]


def linear_svc(data, device):
    """The baseline of every run."""
    began = clock(device)
    vectors = TfidfVectorizer(token_pattern=WORD)
    model = LinearSVC(random_state=0).fit(vectors.fit_transform(data.training.words), data.training_labels)
    seconds = clock(device) - began
    return [(seconds, model.score(vectors.transform(data.test.table.words), data.test.labels))]


def ways_of(arguments, settings, data, device):
    """{name: a function without arguments that trains and returns the points}."""
    return {"guide": lambda: this_script([*arguments, "--RECIPE=guide"], device),
            "measured": lambda: this_script([*arguments, "--RECIPE=measured"], device),
            REFERENCE: lambda: trainer(settings, data, device),
            "trainer grouped": lambda: trainer(settings, data, device, train_sampling_strategy="group_by_length"),
            "frozen features": lambda: frozen_features(settings, data, device),
            "LinearSVC": lambda: linear_svc(data, device)}


# What is shown

def median_points(rounds):
    """One way's points of several rounds: the same accuracies each round, the seconds' medians."""
    return [(statistics.median(point[0] for point in points), statistics.fmean(point[1] for point in points))
            for points in zip(*rounds)]


def table(ways):
    """Lines: each way's last accuracy and seconds, and when it first reached the Trainer's last accuracy."""
    wanted = ways[REFERENCE][-1][1] if REFERENCE in ways else None
    lines = ["| | accuracy at the end | seconds | seconds to the Trainer's accuracy | so many times as soon |",
             "| --- | --- | --- | --- | --- |"]
    for name, points in ways.items():
        reached = next((seconds for seconds, accuracy in points if wanted is not None and accuracy >= wanted), None)
        times = "" if reached is None else f"{ways[REFERENCE][-1][0] / reached:.1f}"
        lines.append(f"| {name} | {points[-1][1]:.3f} | {points[-1][0]:.1f} | "
                     f"{'never' if reached is None else f'{reached:.1f}'} | {times} |")
    return lines


def draw(ways, path, clock_told):
    from matplotlib.figure import Figure
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in ways.items():
        axes.plot(*zip(*points), "o-" if len(points) > 1 else "s", label=name)
    axes.set_xscale("log")
    axes.set_xlabel(f"{clock_told} of training")
    axes.set_ylabel("accuracy on the test rows")
    axes.legend()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="how often each way trains")
    parser.add_argument("--only", default="", help="ways, commas between; all where it is empty")
    parser.add_argument("--picture", default="", help="file of a picture, .svg or .png")
    options, arguments = parser.parse_known_args()
    try:
        settings = script.settings_from(arguments)
        if not (settings.TEST_SHARE or settings.TEST_PATH):
            raise SettingError("the ways are scored on test rows: give TEST_SHARE or TEST_PATH")
        data = quietly(prepare_data, settings)
    except (ConstantError, SettingError, TableError, EncoderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known = ways_of(arguments, settings, data, device)
    chosen = [name for name in known if name in options.only.split(",")] if options.only else list(known)
    rounds = {name: [] for name in chosen}
    for number in range(options.rounds):
        for name in chosen:
            rounds[name].append(known[name]())
            points = ", ".join(f"{accuracy:.3f} after {seconds:.1f} s" for seconds, accuracy in rounds[name][-1])
            print(f"round {number + 1}: {name}: {points}", file=sys.stderr, flush=True)
    ways = {name: median_points(of_way) for name, of_way in rounds.items()}
    print("\n".join(table(ways)))
    print(f"\n{len(data.training):,} rows to train on, {len(data.test.table):,} to test on, "
          f"seed {settings.SEED}; {clock_name(device)}, {options.rounds} round(s); torch {torch.__version__}, "
          f"transformers {transformers.__version__}")
    if options.picture:
        draw(ways, options.picture, clock_name(device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
