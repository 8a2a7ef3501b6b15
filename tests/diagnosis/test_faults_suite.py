"""One script of tests/faults/ through the whole doctor; `python tests/faults/suite.py` runs them all (an hour)."""

import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).resolve().parents[1] / "faults"
sys.path.insert(0, str(FAULTS))
import suite  # noqa: E402 (its folder is on the path from here on)


def test_a_frameworks_schedule_is_named_and_not_the_frozen_layers():
    script = "faulty/schedule_per_epoch_lightning.py"
    if missing := suite.missing_library(suite.expectations()[script]):
        pytest.skip(f"{missing} is not installed")
    result = suite.run_one(script, more=["--CURE=False"])
    assert result["outcome"] == "right", result
    assert "encoder-frozen" not in [name for _, name in result["findings"]]


def test_every_fault_of_the_catalogue_has_a_faulty_script():
    from diagnosis.faults import catalogue
    expected = {name for expected in suite.expectations().values() for name in expected["first"]}
    assert expected == set(catalogue()) and len(expected) == 57
    assert {path for kind in ("faulty", "healthy", "awkward") for path in (FAULTS / kind).glob("*.py")} \
        == {FAULTS / script for script in suite.expectations()}
