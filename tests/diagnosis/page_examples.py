"""Turns the examples of the explanation pages into small training runs and observes them as the doctor does.

An example is a fragment of three to eight lines. script_of() puts it where it belongs in a plain training script:

    it calls backward()         it is the training loop and runs as it stands
    it sets `logits` or `loss`  it is the body of the training loop, up to the loss
    it sets `batch`             it is the body of the loaders' collate function: texts to token ids
    anything else               it stands before the training loop; what rests on a name that it sets is made anew

The names that it finds and may set are those of START and RESTING below.

Run as a program, this file is a server: it imports the libraries once and forks a process for each run, since importing
them takes longer than a run.
"""

import ast
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = 256              # of the training set, where the example does not say otherwise
STEPS = 28              # optimizer steps that are watched, of 64
MOST_SECONDS = 60       # for one run; the usual one takes one

# The folder "pretrained" beside the script holds a tokenizer and an encoder of 2 layers, 32 wide.
START = """
import random
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, BertForSequenceClassification, get_linear_schedule_with_warmup

def made(count, chance):
    rows = {}
    while len(rows) < count:
        label = chance.choice(["bad", "good"])
        words = chance.choices(PLAIN, k=chance.randint(2, 8)) + chance.choices(TELLING[label], k=3)
        rows[" ".join(chance.sample(words, len(words)))] = label
    return list(rows.items())

PLAIN = ("the a and it is was this that phone screen battery camera price colour size box shop seller week day new old "
         "big small first second one two came got have bought very quite still with for from").split()
TELLING = {"bad": "broken awful slow poor cracked useless".split(),
           "good": "great lovely fast solid bright perfect".split()}
rows, validation_rows = made(ROWS, random.Random(0)), made(120, random.Random(2))    # (text, "bad" or "good")

torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained("pretrained")
model = BertForSequenceClassification.from_pretrained("pretrained", num_labels=2)
encoder, head = model.bert, model.classifier
epochs = 2
loss_function = nn.CrossEntropyLoss()

def loss_of(model, batch):
    return loss_function(model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits, batch["labels"])

def collate(examples):
    texts, labels = [text for text, _ in examples], torch.tensor([label for _, label in examples])
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}
"""
# What is made of these: (name, names that it rests on, code).
RESTING = (
    ("texts", {"rows"}, "texts = [text for text, _ in rows]"),
    ("labels", {"rows"}, 'labels = [["bad", "good"].index(label) for _, label in rows]'),
    ("validation_labels", {"validation_rows"},
     'validation_labels = [["bad", "good"].index(label) for _, label in validation_rows]'),
    ("loader", {"texts", "labels"},
     "loader = DataLoader(list(zip(texts, labels)), batch_size=8, shuffle=True, collate_fn=collate)"),
    ("validation_loader", {"validation_rows", "validation_labels"},
     "validation_examples = [(text, label) for (text, _), label in zip(validation_rows, validation_labels)]\n"
     "validation_loader = DataLoader(validation_examples, batch_size=24, collate_fn=collate)"),
    ("model", {"encoder", "head"}, "model.bert, model.classifier = encoder, head\nmodel.train()"),
    ("optimizer", {"model", "encoder", "head"}, "optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)"),
)
LOOP = """
for epoch in range(epochs):
    model.train()
    for batch in loader:
{body}
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        for batch in validation_loader:
            loss_of(model, batch)
"""
COLLATE = """
def collate(examples):
    texts, labels, rows = [text for text, _ in examples], [label for _, label in examples], examples
{body}
    return {{**batch, "labels": torch.tensor(labels)}}
"""


def script_of(example, rows=ROWS):
    """The training script, as text, that an example of a page stands for, with so many training rows."""
    sets, everything = names(example, ast.Store), [code for _, _, code in RESTING]
    loop = LOOP.format(body=" " * 8 + "loss = loss_of(model, batch)")
    if ".backward(" in example:
        parts = [*everything, example]
    elif "loss" in sets:
        parts = [*everything, LOOP.format(body=textwrap.indent(example, " " * 8))]
    elif "logits" in sets:
        example += '\nloss = loss_function(logits, batch["labels"])'
        parts = [*everything, LOOP.format(body=textwrap.indent(example, " " * 8))]
    elif "batch" in sets:
        parts = [COLLATE.format(body=textwrap.indent(example, " " * 4)), *everything, loop]
    else:
        before = needed(names(example, ast.Load))
        parts = [*before, example, *still_to_make(before, sets), loop]
    return "\n".join([f"ROWS = {rows}", START, *parts, ""])


def names(example, context):
    """The names that a fragment sets (ast.Store) or reads (ast.Load)."""
    return {node.id for node in ast.walk(ast.parse(example))
            if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def needed(read):
    """The code that makes the names read, and what these rest on."""
    parts = []
    for name, of, code in reversed(RESTING):
        if name in read:
            parts.insert(0, code)
            read = read | of
    return parts


def still_to_make(before, sets):
    """The code of what was not made before, or rests on a name set since; not of those names themselves."""
    parts, changed = [], set(sets)
    for name, of, code in RESTING:
        if name not in sets and (code not in before or of & changed):
            parts.append(code)
            changed.add(name)
    return parts


# the server's side


def serve(folder):
    """For each line on stdin, a JSON list [script, steps watched, seconds for the controls, changes of a trial or null],
    one observed run and one line back."""
    sys.path.insert(0, str(ROOT))
    import sklearn.feature_extraction.text, sklearn.kernel_ridge, sklearn.model_selection   # noqa: E401, F401

    from transformers import modeling_utils, tokenization_utils_base    # noqa: F401

    from diagnosis import child     # noqa: F401
    from diagnosis.record import source
    os.chdir(folder)
    forked(pretrain)
    exec(START, {"ROWS": ROWS})     # what the libraries cache at their first use, every run then has
    source.users_files("train.py")
    gc.freeze()
    for line in sys.stdin:
        forked(observe, *json.loads(line))
        print(flush=True)


def forked(function, *arguments):
    """Call a function in a process of its own, without a keyboard, its output in output.txt."""
    child = os.fork()
    if not child:
        signal.alarm(MOST_SECONDS)
        log = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(stream, target)
        try:
            function(*arguments)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def observe(script, steps, control_seconds, changes):
    """As child.py does; never returns. Libraries that a script would import itself were imported before."""
    from diagnosis import child
    from diagnosis.observe import stopping
    child.CONTROL_SECONDS = control_seconds
    stopping.STEPS = steps
    if changes is not None:
        os.environ[child.CHANGES] = json.dumps(changes)
    child.main("record.json", script, [])


def pretrain():
    """Save an encoder that has learned which words a text has, but no labels, with its tokenizer in 'pretrained'."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer
    space = {"ROWS": 1_000}
    exec(START.partition("torch.manual_seed")[0], space)
    texts = [text for text, _ in space["rows"]]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for text in texts for word in text.split()})]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)}, do_lower_case=False)
    torch.manual_seed(0)
    encoder = BertModel(BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                                   intermediate_size=64, max_position_embeddings=64))
    head = torch.nn.Linear(32, len(words))
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1e-3)
    for first in range(0, len(texts), 8):
        batch = tokenizer(texts[first:first + 8], padding=True, return_tensors="pt")
        present = torch.zeros(8, len(words)).scatter(1, batch["input_ids"], 1.0)
        torch.nn.functional.binary_cross_entropy_with_logits(head(encoder(**batch).pooler_output), present).backward()
        optimizer.step()
        optimizer.zero_grad()
    encoder.save_pretrained("pretrained")
    tokenizer.save_pretrained("pretrained")


# the tests' side


@contextlib.contextmanager
def server(folder, python):
    """A function that observes an example of a page in that folder and gives its record as JSON text."""
    process = subprocess.Popen([python, __file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True, env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})

    def observed(example, rows=ROWS, steps=STEPS, control_seconds=0, changes=None):
        (folder / "train.py").write_text(script_of(example, rows), encoding="utf-8")
        (folder / "record.json").unlink(missing_ok=True)
        print(json.dumps(["train.py", steps, control_seconds, changes]), file=process.stdin, flush=True)
        assert process.stdout.readline(), "the server has ended"
        return (folder / "record.json").read_text("utf-8")

    with process:
        yield observed
        process.stdin.close()


if __name__ == "__main__":
    serve(sys.argv[1])
