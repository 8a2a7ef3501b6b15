"""Judgement: every check of the catalogue on one record, the findings in order of cause."""

from dataclasses import dataclass, field

from diagnosis.faults import catalogue
from diagnosis.verdict import conclusion
from diagnosis.verdict.finding import LEVELS, Cure, Finding, NotMeasured

EFFECTS = ("stops", "slows", "misleads")


@dataclass
class Judgement:
    """All that is judged of one run; what shows it to people or programs reads it here and judges nothing again."""
    findings: list[Finding] = field(default_factory=list)               # in order of cause
    passed: list[str] = field(default_factory=list)
    not_checked: list[tuple[str, str]] = field(default_factory=list)    # name, reason
    reason: str = ""                # why the run could not be judged at all; then every check is among not_checked
    outcome: str = ""               # learns, does not learn, too early to tell; '' where nothing could be told
    verdict: str = ""               # one sentence
    out_of_time: list[str] = field(default_factory=list)                # controls that there was no time for
    learnable: bool | None = None   # the labels can be predicted from these texts; None: not measured
    side: str = ""                  # on which side the controls together say that the fault is
    causes: list[tuple[Finding, list[Finding]]] = field(default_factory=list)   # every finding once, its consequences
                                                                                # with the first cause
    trials: list[Cure] = field(default_factory=list)    # of general mends, where no finding's cure was enough


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
            outcome.name, outcome.effect = name, outcome.effect or fault.EFFECT
            outcome.set_by = _set_by(fault, record, outcome)
            judgement.findings.append(outcome)
    judgement.findings = in_order_of_cause(judgement.findings, faults)
    if not record.optimizer_steps:      # a crash before the first step comes before all that it kept from happening
        judgement.findings = sorted(judgement.findings, key=lambda finding: not conclusion.leads_to_crash(
            record, finding, judgement.findings))
    return concluded(record, judgement)


def nothing_judged(record, judgement, reason):
    """The same with every check as not made: a run that could not be examined shows nothing."""
    names = [finding.name for finding in judgement.findings] + judgement.passed
    names += [name for name, _ in judgement.not_checked]
    return concluded(record, Judgement(not_checked=[(name, reason) for name in names], reason=reason))


def concluded(record, judgement):
    """The judgement, with all that follows from its findings and the controls."""
    judgement.causes = under_their_causes(judgement.findings)
    judgement.learnable = conclusion.learnable(record)
    judgement.out_of_time = conclusion.out_of_time(record)
    judgement.side = conclusion.side(record)
    judgement.outcome = conclusion.outcome(record, judgement)
    judgement.verdict = conclusion.verdict(record, judgement)
    return judgement


def _checked(fault, record):
    """The outcome of one check; a check that fails on an odd record must not take the others' outcomes with it."""
    try:
        return fault.check(record)
    except Exception as error:
        return NotMeasured(f"the check itself failed: {type(error).__name__}: {error}")


def _set_by(fault, record, finding):
    """Where the value is set that the fault speaks of; None where the finding blames another line, or that very one."""
    setting, where = record.setting(getattr(fault, "SET_BY", None)), finding.where
    if setting is None or where is not None and (where == setting.site or setting.acts not in (None, where)):
        return None
    return setting


def in_order_of_cause(findings, faults):
    """Causes before their consequences; among equals, what stops learning first, and what explains more findings; below
    errors, what a line of the script does before what the data are.

    A mild finding does not explain a grave one: only those of the same level or a graver one count as its cause.
    """
    grave = {finding.name: LEVELS.index(finding.level) for finding in findings}
    explained = {name: sum(name in faults[other].CAUSED_BY for other in grave) for name in grave}

    def key(finding):
        fault = faults[finding.name]
        caused = any(grave.get(cause, len(LEVELS)) <= grave[finding.name] for cause in fault.CAUSED_BY)
        remark = finding.level != "error" and fault.GROUP == "data"     # may be meant; a line that is wrong is not
        return (caused, grave[finding.name], remark, EFFECTS.index(finding.effect), -explained[finding.name])

    return sorted(findings, key=key)


def under_their_causes(findings):
    """[(cause, consequences)]: every finding once, a consequence with the first finding that it comes from."""
    faults, listed, root = catalogue(), [], {}
    for finding in findings:
        cause = next((root[before.name] for before in findings if before.name in root
                      and before.name in faults[finding.name].CAUSED_BY), None)
        root[finding.name] = cause or finding.name
        if cause is None:
            listed.append((finding, []))
        else:
            next(consequences for first, consequences in listed if first.name == cause).append(finding)
    return listed
