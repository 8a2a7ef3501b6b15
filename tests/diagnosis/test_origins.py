"""A value that acts in one line is followed to the one that sets it, and the help names what the script offers."""

import pytest

from diagnosis.record.origins import VALUES, origin, settings
from diagnosis.record.record import Record, Setting, Site
from diagnosis.verdict import report
from diagnosis.verdict.finding import Finding
from diagnosis.verdict.judge import _set_by
from diagnosis.faults import lr_zero

SCRIPT = """\
import argparse, torch
from conf import Config, EPSILON
parser = argparse.ArgumentParser()
parser.add_argument("--learning_rate", "-lr", type=float,
                    default=0.0)
args = parser.parse_args()
cfg = Config()
LONGEST = 4
LIMITS = {"clip": 1e-4}

def make(model, rate, decay=0.1):
    return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)

class Trainer:
    def __init__(self, lr):
        self.lr = lr

    def build(self, model):
        return torch.optim.SGD(model.parameters(), self.lr)

def main(model, tokenizer):
    optimizer = make(model, args.learning_rate, decay=cfg.weight_decay)
    Trainer(lr=cfg.lr * 2).build(model)
    tokenizer(["a"], max_length=LONGEST, truncation=True)
    rates = {"head": 1e-9}
    torch.optim.Adam([{"params": model.head.parameters(), "lr": rates["head"]}, {"params": model.parameters()}])
    torch.optim.Adam(model.parameters(), lr=0.0)
    torch.nn.utils.clip_grad_norm_(model.parameters(), LIMITS["clip"])
    half = EPSILON / 2
    torch.optim.SGD(model.parameters(), half)
"""
MODULE = """\
EPSILON = 1e-12

class Config:
    lr: float = 7.0
    weight_decay: float = 100.0
    model_name = "bert-base-uncased"
    class_weights = False
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "conf.py").write_text(MODULE)
    return [str(tmp_path / "train.py"), str(tmp_path / "conf.py")]


def line_of(code, text=SCRIPT):
    return next(number for number, line in enumerate(text.splitlines(), 1) if code in line)


@pytest.mark.parametrize("acting, value, set_in", [
    ("lr=rate", "lr", "--learning_rate"),                                   # an option, by way of a parameter
    ("self.lr)", "lr", "lr: float = 7.0"),                                  # a field, by way of a class and arithmetic
    ("lr=rate", "weight_decay", "weight_decay: float"),
    ("max_length=", "max_length", "LONGEST = 4"),
    ('"lr": rates', "lr", "rates = {"),                                     # a key
    ("clip_grad", "max_norm", "LIMITS = {"),
    ("parameters(), half)", "lr", "EPSILON = 1e-12"),                       # another module's constant
])
def test_a_value_is_followed_to_the_line_that_sets_it(files, acting, value, set_in):
    file, line = origin((files[0], line_of(acting)), *VALUES[value], files, [])
    assert set_in in (SCRIPT if file == files[0] else MODULE).splitlines()[line - 1]


@pytest.mark.parametrize("arguments", [["--learning_rate=3"], ["--epochs", "1", "--learning-rate", "3"]])
def test_an_argument_of_the_script_comes_before_its_default(files, arguments):
    found = origin((files[0], line_of("lr=rate")), *VALUES["lr"], files, arguments)
    assert found in ("--learning_rate=3", "--learning-rate 3")


def test_a_value_that_is_set_where_it_acts_is_left_there(files):
    assert origin((files[0], line_of("lr=0.0)")), *VALUES["lr"], files, []) is None


def test_what_a_script_offers_is_found_by_its_names_alone(files):
    found = {setting.of: setting for setting in settings({}, files)}
    assert found["model_name"].site.code == 'model_name = "bert-base-uncased"' and "dropout" not in found
    assert (found["class_weights"].name, found["lr"].name) == ("class_weights", "--learning_rate")


def test_the_setting_stands_beside_the_line_in_which_it_acts_and_only_there():
    acts = Site("train.py", 9, "optimizer = AdamW(model.parameters(), lr=LR)")
    record = Record(settings=[Setting("lr", Site("train.py", 2, "LR = 0.0    # peak rate"), "", acts)])
    finding = Finding("error", "the rate is 0", {}, "", "", acts)
    finding.set_by = _set_by(lr_zero, record, finding)
    assert report.finding_lines(finding, [], 100)[2] == "  set in train.py:2  LR = 0.0"
    assert report.finding_json(finding)["set_by"] == {"file": "train.py", "line": 2}
    finding.where = Site("train.py", 30, "scheduler.step()")
    assert _set_by(lr_zero, record, finding) is None
    record.settings = [Setting("lr", None, "--LR=0", acts)]
    finding.where, finding.set_by = acts, record.settings[0]
    assert report.finding_lines(finding, [], 100)[2] == "  set by --LR=0" and record.settings[0].name == "--LR"
