"""The READMEs keep their word: their commands run, their code runs, their files exist."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, posts, tiny_bert, write_csv

READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
FOLDERS = ("data", "diagnosis", "tests", "training")

# What stands in a README for something of the user's own
STAND_INS = {"path/to/train.py": "tests/faults/awkward/plain_mlp.py",
             "tests/faults/faulty/schedule_per_epoch_guide.py": "tests/faults/awkward/plain_mlp.py",   # a minute sooner
             "twitter_training.csv.gz": "posts.csv",
             "--COLUMN_NAMES=id,entity,label,text": "--TEXT_COLUMN=text", "--GROUP_COLUMN=id": "--GROUP_COLUMN="}
# Measurements of many minutes, and what needs the network or several GPUs: only that the command exists is tested
SLOW = ("tests/faults/suite.py", "tests/benchmarks/", "tests/reliability/", "-m pytest", "pip install", "ANY_TABLE_FILES")


def commands(readme):
    """The command lines of the indented blocks, comments and line continuations taken away."""
    text = re.sub(r"\\\n\s+", "", readme.read_text("utf-8"))
    lines = re.findall(r"^    (?:[A-Z_]+=\S+ )*((?:python|pip|torchrun|cat) .*)$", text, re.MULTILINE)
    return [line.partition("  #")[0].strip() for line in lines]


def all_commands():
    """Those of README.md; README.zh-CN.md has the same ones, as a test below makes sure."""
    return [pytest.param(line, id=line[:80]) for line in commands(ROOT / "README.md")]


@pytest.fixture(scope="module")
def project(tmp_path_factory, python):
    """A copy of the project with a tiny BERT as its encoder, a table, and a finished run."""
    folder = tmp_path_factory.mktemp("readme") / "project"
    folder.mkdir()
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.py"), *ROOT.glob("*.txt"), *READMES]:
        shutil.copy(path, folder)
    tiny_bert(folder / "models" / "bert-base-uncased")
    for table in ("posts.csv", "data/sample.csv"):      # in place of the sample's thousand rows
        write_csv(folder / table, posts(120))
    done = run("python BERT_main_aggressive.py", folder, python)
    assert done.returncode == 0, done.stderr
    return folder


def run(command, folder, python):
    """The finished command line, whose `python` is the given one."""
    for placeholder, real in STAND_INS.items():
        command = command.replace(placeholder, real)
    if "diagnose_bert.py" not in command and "BERT_main" in command and "MAX_LENGTH" not in command:
        command += " --MAX_LENGTH=32"       # all that the tiny BERT takes
    environment = os.environ | {
        "PATH": os.pathsep.join([os.path.dirname(python), os.path.dirname(sys.executable), os.environ["PATH"]])}
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=400, env=environment)


@pytest.mark.parametrize("command", all_commands())
def test_every_command_runs(python, project, command):
    if any(one in command for one in SLOW):
        script = next((word for word in shlex.split(command) if word.endswith(".py") or word.endswith(".txt")), None)
        assert script is None or (ROOT / script).exists(), command
        return
    if "diagnose_bert.py" in command and len(command.split()) == 2:
        command += " --MAX_LENGTH=32 --CURE=False"      # trials: tests/diagnosis/test_cures.py
    done = run(command, project, python)
    assert done.returncode in ((0, 1) if "diagnose_bert.py" in command else (0,)), (command, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_python_code_runs(python, project, readme):
    blocks = re.findall(r"((?:^    (?:from|import) .*\n)(?:^    .*\n)+)", readme.read_text("utf-8"), re.MULTILINE)
    assert blocks
    for block in blocks:
        code = re.sub(r"^    ", "", block, flags=re.MULTILINE)
        done = subprocess.run([python, "-c", code], cwd=project, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, (code, done.stderr)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_file_named_exists(readme):
    named = set(re.findall(r"`((?:data|diagnosis|tests)/[\w./-]*|[\w.-]+\.(?:py|txt))`", readme.read_text("utf-8")))
    assert named
    missing = [name for name in named if not (ROOT / name).exists() and not any(ROOT.glob(f"*/{name}"))]
    assert not missing


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_a_readme_is_short_and_its_pictures_are_small_and_there(readme):
    text = readme.read_text("utf-8")
    assert len(text.splitlines()) <= 180
    pictures = [ROOT / name for name in re.findall(r"!\[.*?\]\((.*?)\)", text)]
    assert pictures and all(picture.stat().st_size < 150_000 for picture in pictures)


def test_the_scripts_of_the_measurements_exist():
    page = ROOT / "tests" / "benchmarks" / "README.md"
    scripts = {word for line in commands(page) for word in shlex.split(line) if word.endswith(".py")}
    assert len(scripts) >= 4 and all((ROOT / script).exists() for script in scripts)


def test_the_chinese_readme_has_the_same_commands_and_figures():
    chinese = ROOT / "README.zh-CN.md"
    assert commands(chinese) == commands(ROOT / "README.md")
    figures = lambda path: sorted(re.findall(r"\d[\d,]*\.\d+|\d{2,}(?:,\d{3})*", path.read_text("utf-8")))
    assert figures(chinese) == figures(ROOT / "README.md")
