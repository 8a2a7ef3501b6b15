"""What the examined script may do to files that are older than the examination: nothing, and it does not notice."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from conftest import ROOT, posts, tiny_bert, write_csv
from test_observer import LOADERS, SETUP, observe  # noqa: F401

WATCHED = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from diagnosis.observe import files, untouched
from diagnosis.observe.untouched.old_files import OldFiles
old_files = OldFiles("instead")
untouched.install(old_files)
files.refuse(old_files)
sys.path.pop(0)
exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"))
"""
OLD = {"best.pt": b"yesterday's model", "log.txt": b"yesterday\n", "out/config.json": b"{}", "out/sub/model.bin": b"old"}


def state(folder):
    """{path: (contents, time of the last change)} of the old files."""
    return {name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns) for name in OLD}


@pytest.fixture
def folder(tmp_path):
    for name, contents in OLD.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(contents)
    time.sleep(0.02)
    return tmp_path


def run(folder, source):
    """Run a script with nothing but this protection; what it printed."""
    (folder / "script.py").write_text(textwrap.dedent(source))
    done = subprocess.run([sys.executable, "-c", WATCHED, str(ROOT), "script.py"], cwd=folder, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


WAYS = {
    "open for writing": """
        open("best.pt", "w").write("new")
        assert open("best.pt").read() == "new"
        """,
    "open by its keywords": """
        with open(file="best.pt", mode="wb") as file:
            file.write(b"new")
        assert open("best.pt", "rb").read() == b"new"
        """,
    "open for appending": """
        with open("log.txt", "a") as log:
            log.write("today")
        assert open("log.txt").read().split() == ["yesterday", "today"]
        """,
    "open for changing": """
        with open("best.pt", "r+b") as file:
            file.write(b"YES")
        assert open("best.pt", "rb").read() == b"YESterday's model"
        """,
    "pathlib": """
        from pathlib import Path
        Path("best.pt").write_text("new")
        assert Path("best.pt").read_text() == "new" and Path("best.pt").stat().st_size == 3
        Path("log.txt").unlink()
        assert not Path("log.txt").exists()
        Path("out/config.json").touch()
        Path("out/config.json").rename("out/before.json")
        assert Path("out/before.json").read_text() == "{}" and not Path("out/config.json").exists()
        """,
    "file descriptors": """
        import os
        handle = os.open("best.pt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(handle, b"new")
        os.close(handle)
        assert os.path.getsize("best.pt") == 3
        os.truncate("log.txt", 2)
        assert open("log.txt").read() == "ye"
        """,
    "removing and making anew": """
        import os, shutil
        if os.path.exists("out"):
            shutil.rmtree("out")
        assert not os.path.exists("out") and "out" not in os.listdir() and not os.path.isfile("out/config.json")
        os.makedirs("out/sub")
        open("out/sub/model.bin", "w").write("new")
        assert [(folder, sorted(files)) for folder, _, files in os.walk("out")] == [("out", []), ("out/sub", ["model.bin"])]
        os.remove("best.pt")
        try:
            open("best.pt")
        except FileNotFoundError:
            pass
        else:
            raise AssertionError("still there")
        """,
    "removing file by file": """
        import os
        for folder, folders, files in os.walk("out", topdown=False):
            for name in files:
                os.unlink(os.path.join(folder, name))
            os.rmdir(folder)
        assert not os.path.exists("out")
        os.mkdir("out")
        assert os.listdir("out") == []
        """,
    "renaming onto it": """
        import os
        open("part", "w").write("new")
        os.replace("part", "best.pt")
        assert open("best.pt").read() == "new" and not os.path.exists("part")
        os.rename("log.txt", "log.1")
        open("log.txt", "w").write("today")
        assert open("log.1").read().strip() == "yesterday" and open("log.txt").read() == "today"
        os.rename("out", "out.bak")
        assert os.path.isfile("out.bak/sub/model.bin") and not os.path.exists("out")
        open("out.bak/config.json", "w").write("new")
        """,
    "copying and moving onto it": """
        import shutil
        open("new.pt", "w").write("new")
        shutil.copyfile("new.pt", "best.pt")
        shutil.copy2("new.pt", "out/config.json")
        shutil.move("new.pt", "out/sub/model.bin")
        assert open("best.pt").read() == open("out/config.json").read() == open("out/sub/model.bin").read() == "new"
        shutil.copytree("out", "copy")
        """,
    "links": """
        import os
        os.link("best.pt", "latest.pt")
        open("latest.pt", "w").write("new")
        os.symlink("log.txt", "latest.txt")
        open("latest.txt", "w").write("new")
        assert open("log.txt").read() == "new"
        """,
    "rights and times": """
        import os
        os.chmod("best.pt", 0o600)
        os.utime("best.pt")
        """,
    "a database": """
        import sqlite3
        open("own.db", "w").close()
        with sqlite3.connect("log.txt") as database:
            try:
                database.execute("create table runs (score)")
            except sqlite3.DatabaseError:
                pass                    # it is none; but it was not touched to find out
        """,
    "logging": """
        import logging
        logging.basicConfig(filename="log.txt", filemode="w", level="INFO")
        logging.info("today")
        assert open("log.txt").read() == "INFO:root:today\\n"
        """,
    "archives": """
        import gzip, tarfile, zipfile
        with zipfile.ZipFile("best.pt", "w") as archive:
            archive.writestr("a", "b")
        with tarfile.open("log.txt", "w") as archive:
            archive.add("best.pt")
        with gzip.open("out/config.json", "wt") as file:
            file.write("new")
        assert zipfile.ZipFile("best.pt").namelist() == ["a"]
        """,
    "other programs": """
        import os, subprocess
        os.system("rm -rf out best.pt")
        subprocess.run(["rm", "-f", "log.txt"], check=True)
        subprocess.run("echo new > best.pt && mv log.txt log.1", shell=True, check=True)
        subprocess.call(["bash", "-c", "cp script.py best.pt"])
        assert subprocess.check_output("echo $((1 + 1)) > new.txt; cat new.txt", shell=True) == b"2\\n"
        """,
    "other Python processes": """
        import multiprocessing, subprocess, sys
        def spoil(name):
            with open(name, "w") as file:
                file.write("new")
            return open(name).read()
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(1) as pool:
                assert pool.map(spoil, ["best.pt"]) == ["new"]
            code = "open('log.txt', 'w').write('new'); import shutil; shutil.rmtree('out'); print(*__import__('sys').path)"
            assert "untouched" not in subprocess.check_output([sys.executable, "-c", code], text=True)
        """,
    "ways out of Python's sight": """
        import io
        for spoil in (lambda: io.FileIO("best.pt", "w"), lambda: __import__("posix").remove("log.txt")):
            try:
                spoil()
            except PermissionError as error:
                assert "older than the examination" in str(error)
            else:
                raise AssertionError("not stopped")
        """,
}


PARQUET = """
    import pandas, pyarrow, pyarrow.parquet
    table = pyarrow.table({"text": ["a", "b"]})
    pyarrow.parquet.write_table(table, "best.pt")
    assert pyarrow.parquet.read_table("best.pt").num_rows == 2
    table.to_pandas().to_parquet("log.txt")
    assert list(pandas.read_parquet("log.txt").text) == ["a", "b"]
    """


def test_no_old_parquet_file_is_changed(folder):
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    before = state(folder)
    run(folder, PARQUET)
    assert state(folder) == before


@pytest.mark.parametrize("way", WAYS)
def test_no_old_file_is_changed_and_the_script_finds_what_it_wrote(folder, way):
    before = state(folder)
    run(folder, WAYS[way])
    assert state(folder) == before


def test_files_that_the_script_made_itself_are_its_own(folder):
    run(folder, """
        import os, shutil
        open("new.txt", "w").write("first")
        open("new.txt", "w").write("second")
        open("out/new.txt", "w").write("beside old ones")
        os.makedirs("own/sub")
        open("own/sub/a", "w").close()
        shutil.rmtree("own")
        os.rename("new.txt", "newer.txt")
        """)
    assert (folder / "newer.txt").read_text() == "second" and (folder / "out/new.txt").exists()
    assert not (folder / "own").exists() and not (folder / "new.txt").exists()


SAVING = """
model = Net()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for epoch in range(3):
    model.train()
    for a, b, y in train:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(a, b), y)
        loss.backward()
        optimizer.step()
        if epoch == 0:
            save(model, len(seen))
            seen.append(loss.item())
"""


def test_weights_saved_at_the_first_step_take_nothings_place_and_can_be_loaded(observe, folder):  # noqa: F811
    before = state(folder)
    record = observe(SETUP, LOADERS, """
        import safetensors.numpy, safetensors.torch
        from tokenizers import Tokenizer, models
        seen = []
        def save(model, step):
            if step > 2:
                return
            weights = {name: value + 0 for name, value in model.state_dict().items()}
            torch.save(weights, "best.pt")
            assert set(torch.load("best.pt")) == set(weights)
            safetensors.torch.save_file(weights, "log.txt")
            assert set(safetensors.torch.load_file("log.txt")) == set(weights)
            safetensors.numpy.save_file({name: value.numpy() for name, value in weights.items()}, "out/config.json")
            Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save("out/sub/model.bin")
            assert Tokenizer.from_file("out/sub/model.bin").get_vocab_size() == 1
            torch.jit.save(torch.jit.script(nn.Linear(2, 2)), "best.pt")
            print("saved", step)
        """, SAVING)
    assert state(folder) == before and "saved 2" in observe.output
    assert record.ended == "enough seen" and record.optimizer_steps >= 40
    assert sorted(record.kept_files) == sorted(OLD)


def test_an_old_folder_of_the_trainer_stays_as_it_is_its_old_checkpoints_too(tmp_path, python):
    tiny_bert(tmp_path / "tiny")
    write_csv(tmp_path / "posts.csv", posts(160))
    out = tmp_path / "out"
    for step in (2, 4):
        tiny_bert(out / f"checkpoint-{step}")
        (out / f"checkpoint-{step}/trainer_state.json").write_text("{}")
    tiny_bert(out)
    old = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*") if path.is_file()}
    time.sleep(0.02)
    (tmp_path / "train.py").write_text(textwrap.dedent("""
        import csv
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments
        tokenizer = AutoTokenizer.from_pretrained("tiny")
        rows = list(csv.DictReader(open("posts.csv")))
        names = sorted({row["label"] for row in rows})
        data = [dict(tokenizer(row["text"], padding="max_length", max_length=16, truncation=True),
                     labels=names.index(row["label"])) for row in rows]
        model = AutoModelForSequenceClassification.from_pretrained("tiny", num_labels=len(names))
        arguments = TrainingArguments("out", learning_rate=0.0, per_device_train_batch_size=4, num_train_epochs=2,
                                      save_steps=2, save_total_limit=1, report_to=[], use_cpu=True)
        model.save_pretrained("out")
        tokenizer.save_pretrained("out")
        Trainer(model, arguments, train_dataset=data).train()
        """))
    done = subprocess.run([python, str(ROOT / "diagnose_bert.py"), "--TIME_LIMIT=120", "--CURE=False",
                           "train.py"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=240)
    report = json.loads((tmp_path / "runs/diagnosis/report.json").read_text())
    assert done.returncode == 1 and report["findings"][0]["name"] == "lr-zero", done.stdout
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in old} == old
    assert "kept" in done.stdout and os.path.join("out", "config.json") in done.stdout
    assert list(Path(tmp_path / "out").glob("checkpoint-*/optimizer.pt"))       # its own new files are its business
