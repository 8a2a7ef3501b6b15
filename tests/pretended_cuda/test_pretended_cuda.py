"""The tests that are for CUDA, on a CUDA device that is not there."""

import subprocess
import sys

import pretended
import pytest
from conftest import ROOT

AREAS = ["pretended_cuda", "training"]      # folders of tests/


@pytest.fixture(scope="session")
def environment():
    try:
        found = pretended.environment()
    except pretended.CannotPretend as error:
        pytest.skip(str(error))
    return {name: value for name, value in found.items() if not name.startswith("PYTEST_")}


@pytest.mark.parametrize("area", AREAS)
def test_the_tests_for_cuda_pass_on_a_pretended_device(area, environment):
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", f"tests/{area}"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
