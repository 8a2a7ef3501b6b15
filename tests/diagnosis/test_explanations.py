"""Every fault's page has its headings, and the doctor recognises its wrong example and finds the right one healthy."""

import functools
import os
import re
import textwrap

import pytest
from page_examples import server

from diagnosis.cures.comparing import cure_of
from diagnosis.faults import GROUPS, catalogue
from diagnosis.record.record import from_json
from diagnosis.verdict import course
from diagnosis.verdict.judge import judge

HEADINGS = ["What it is", "How it shows", "How it is found", "Wrong", "Right", "Not to be confused with"]
FAULTS = catalogue()

# Faults whose example ends in an error of torch, as the fault itself does.
BREAKS = {"label-out-of-range"}
# What an example's run needs beyond the usual: rows, seconds for the controls that find it, steps until it has learned.
NEEDS = {"labels-random": {"control_seconds": 5, "rows": 560}, "rows-mixed": {"control_seconds": 10},
         "majority-class": {"steps": 40}}

# Faults whose mend is tried on their wrong example: all that have one, which takes two minutes, or one.
FEW = ("optimizer-missing-params",)
# Forty steps of two rows show nothing; an encoder made from a configuration has no checkpoint to load; at first the
# example learns the faster for its fault.
NOT_SEEN = ("batchnorm-small-batch", "encoder-random", "optimizer-remade")
MENDED = [name for name, fault in FAULTS.items() if hasattr(fault, "mend") and name not in NOT_SEEN]
TRIED = MENDED if os.environ.get("ALL_MENDS") else FEW


def sections(fault):
    """{heading: text} of a fault's page; the part before the first heading is under ''."""
    parts = re.split(r"^(\S.*)\n(?=    )", fault.__doc__, flags=re.MULTILINE)
    return {"": parts[0].strip()} | {heading: textwrap.dedent(text).strip()
                                     for heading, text in zip(parts[1::2], parts[2::2])}


@pytest.fixture(scope="module")
def observed(tmp_path_factory, python):
    """observed(name, heading, changes): the record of that example's run, mended where changes are given."""
    with server(tmp_path_factory.mktemp("pages"), python) as run:
        yield lambda name, heading, changes=None, **more: from_json(
            run(sections(FAULTS[name])[heading], changes=changes, **NEEDS.get(name, {}) | more))


@pytest.fixture(scope="module")
def examined(observed):
    """examined(name, heading): the record of that example's run, and the findings in it."""
    @functools.cache
    def record_and_findings(name, heading):
        record = observed(name, heading)
        return record, judge(record).findings
    return record_and_findings


def test_the_catalogue_is_the_contracts():
    assert len(FAULTS) == 57 and {fault.GROUP for fault in FAULTS.values()} == set(GROUPS)


@pytest.mark.parametrize("name", FAULTS)
def test_a_page_has_its_meaning_in_one_line_and_every_heading_in_order(name):
    first, *_ = FAULTS[name].__doc__.splitlines()
    assert first and len(first) <= 100 and not first.endswith(".")
    parts = sections(FAULTS[name])
    assert parts.pop("") == first
    assert list(parts) == HEADINGS and all(parts.values())


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_what_it_does_and_what_it_comes_from(name):
    fault = FAULTS[name]
    assert fault.EFFECT in ("stops", "slows", "misleads")
    assert all(cause in FAULTS and cause != name for cause in fault.CAUSED_BY)


@pytest.mark.parametrize("name", FAULTS)
def test_the_right_example_runs_and_the_doctor_finds_it_healthy(name, examined):
    record, findings = examined(name, "Right")
    assert record.crash is None and record.optimizer_steps >= 16
    assert record.observer_errors == []
    assert [finding.title for finding in findings if finding.name == name or finding.level == "error"] == []


@pytest.mark.parametrize("name", FAULTS)
def test_the_wrong_example_runs_and_the_doctor_names_its_fault_first(name, examined):
    record, findings = examined(name, "Wrong")
    assert (record.crash is not None) == (name in BREAKS), record.crash
    assert record.crash is None or record.crash.kind != "NameError"     # a fault may break a run, but by its own error
    assert record.observer_errors == []
    assert [finding.name for finding in findings][:1] == [name]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_can_be_mended_or_says_why_that_cannot_be_tried(name):
    fault = FAULTS[name]
    assert hasattr(fault, "mend") or fault.NO_TRIAL and not fault.NO_TRIAL.endswith(".")


@pytest.mark.parametrize("name", TRIED)
def test_the_wrong_example_has_its_fault_no_more_or_learns_when_that_alone_is_mended(name, examined, observed):
    wrong, findings = examined(name, "Wrong")
    mend = FAULTS[name].mend(wrong)
    mended = observed(name, "Wrong", mend.changes, steps=40)
    assert mended.observer_errors == [] and mended.ended != "crashed"
    as_it_is = observed(name, "Wrong", {}, steps=40)    # the page's own examination has fewer
    cure = cure_of(mend, as_it_is, mended, "does not learn")
    assert cure.helps or name not in [finding.name for finding in judge(mended).findings], cure


@pytest.mark.parametrize("name", FAULTS)
def test_the_wrong_example_is_code_and_differs_from_the_right_one(name):
    wrong, right = sections(FAULTS[name])["Wrong"], sections(FAULTS[name])["Right"]
    assert wrong != right
    compile(wrong, f"{name}, Wrong", "exec")


def test_a_healthy_run_of_the_harness_learns(examined):
    """Else no error in the right examples would mean little."""
    record, findings = examined("majority-class", "Right")      # changes nothing of the usual script
    assert course.trend(record).last < 0.9 * course.guessing_loss(record) and findings == []
