"""The tests that are for CUDA, on a CUDA device that is not there."""

import re
import subprocess
import sys

import pretended
import pytest
from conftest import ROOT

# Of tests/, named because a process that looks through whole folders for them spends its time on imports.
FILES = ["pretended_cuda/test_device.py", "test_on_gpu.py", "diagnosis/test_look.py", "diagnosis/test_diagnose_bert.py",
         *(f"training/test_{name}.py" for name in ("training", "speed", "pooling", "pairs", "model", "options",
                                                   "reliability", "planted_cuda_errors", "scoring"))]


@pytest.fixture(scope="session")
def environment():
    try:
        found = pretended.environment()
    except pretended.CannotPretend as error:
        pytest.skip(str(error))
    return {name: value for name, value in found.items() if not name.startswith("PYTEST_")}


def test_every_file_with_tests_for_cuda_is_named():
    marked = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")
              if {"on_cuda", "on_both_devices", "pytest.mark.cuda"} & {*re.findall(r"[\w.]+", path.read_text("utf-8"))}}
    assert sorted(FILES) == sorted(marked - {"pretended_cuda/test_pretended_cuda.py"})


def test_the_tests_for_cuda_pass_on_a_pretended_device(environment):
    files = [f"tests/{file}" for file in FILES]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
