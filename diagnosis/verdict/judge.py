"""Judgement: every check of the catalogue on one record, the findings in order of cause."""

import math
from dataclasses import dataclass, field

from diagnosis.faults import catalogue
from diagnosis.verdict.finding import LEVELS, Finding, NotMeasured

EFFECTS = ("stops", "slows", "misleads")


@dataclass
class Judgement:
    findings: list[Finding] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    not_checked: list[tuple[str, str]] = field(default_factory=list)    # name, reason


def judge(record):
    """Make every check; what cannot be checked is told apart from what passed."""
    faults = catalogue()
    judgement = Judgement()
    for name, fault in faults.items():
        outcome = _checked(fault, record)
        if outcome is None:
            judgement.passed.append(name)
        elif isinstance(outcome, NotMeasured):
            judgement.not_checked.append((name, outcome.reason))
        else:
            outcome.name = name
            judgement.findings.append(outcome)
    judgement.findings = in_order_of_cause(judgement.findings, faults)
    return judgement


def _checked(fault, record):
    """The outcome of one check; a check that fails on an odd record must not take the others' outcomes with it."""
    try:
        return fault.check(record)
    except Exception as error:
        return NotMeasured(f"the check itself failed: {type(error).__name__}: {error}")


def in_order_of_cause(findings, faults):
    """Causes before their consequences; among equals, what stops learning first, and what explains more findings.

    A mild finding does not explain a grave one: only those of the same level or a graver one count as its cause.
    """
    grave = {finding.name: LEVELS.index(finding.level) for finding in findings}
    explained = {name: sum(name in faults[other].CAUSED_BY for other in grave) for name in grave}

    def key(finding):
        fault = faults[finding.name]
        caused = any(grave.get(cause, len(LEVELS)) <= grave[finding.name] for cause in fault.CAUSED_BY)
        return (caused, grave[finding.name], EFFECTS.index(fault.EFFECT), -explained[finding.name])

    return sorted(findings, key=key)


def learnable(record):
    """The outcome of the controls on the data: can the labels be predicted from these texts at all?"""
    outcomes = [control.outcome for name in ("labels-from-tokens", "labels-from-features")
                if (control := record.control(name)) is not None and control.outcome is not None]
    return any(outcomes) if outcomes else None


def chance_loss(labels):
    """The loss of guessing by class frequency: the entropy of the class shares, in nats."""
    shares = [labels.count(one) / len(labels) for one in set(labels)]
    return -sum(share * math.log(share) for share in shares)
