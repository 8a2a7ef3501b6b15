"""Which cures are tried, in which order: of what was found, or by search where nothing was.

Each trial is a run of the script in a process of its own, with the changes of a Mend made by the observer.
"""

import os
import time
from pathlib import Path

from diagnosis import processes
from diagnosis.cures import comparing, mends
from diagnosis.faults import catalogue
from diagnosis.observe.limits import STILL_STEPS
from diagnosis.observe.stopping import stand_still
from diagnosis.verdict.conclusion import found_by_trial
from diagnosis.verdict.finding import Finding
from diagnosis.verdict.judge import judge
from diagnosis.verdict.outcome import DOES_NOT_LEARN, LEARNS, TOO_EARLY, measured

TIMES, MORE = 2, 30     # a trial may take so many times the seconds of the examination, and these beside
LONGER = 3              # times the steps of a trial that was too short to tell
FEWEST_SECONDS = 8      # left, with which none is begun
ASKED = {"data": ("labels-from-tokens", "labels-from-features"),
         "evaluation": ("labels-from-features", "own-optimizer")}
ALWAYS = ("model-overfits", "own-optimizer")        # controls that are named where no trial is made


def of_no_use(record, wanted):
    """Why no cure is tried at all, '' where one may be."""
    if not wanted:
        return "--CURE=False"
    return "the script trains in several processes" if int(os.environ.get("WORLD_SIZE") or 1) > 1 else ""


class Trials:
    """The trials of one examination.

    record     of the run as it is
    judgement  whose findings get their cures here
    ends       time.monotonic() at which the time is up
    untried    why there are none, '' where there may be
    """

    def __init__(self, record, judgement, report_dir, ends, untried=""):
        self.record, self.judgement, self.ends = record, judgement, ends
        self.folder, self.begun = Path(report_dir), 0       # trials begun
        self.tried = []             # (Finding, Mend) of those whose mend alone was not enough
        self.settled = False        # with one mended the run learns, or with some together
        self.last = record          # of the last trial
        self.as_it_is = None if ended_early(record) else record     # to compare with; None: it runs again beside a trial
        self.untried = untried
        for finding in judgement.findings:
            finding.untried = untried or ("" if finding.level == "error" else "no error")
        for _, consequences in judgement.causes:
            for finding in consequences:
                finding.untried = finding.untried or "it follows from another finding"

    def try_cure(self, finding):
        """Try the cure of a finding, and where it is not enough, together with those before."""
        fault = catalogue()[finding.name]
        if finding.untried:
            return
        if self.settled:
            finding.untried = "the cure of a finding before it was enough"
            return
        mend = mend_of(fault, self.record)
        if mend is None:
            finding.untried = "; ".join(filter(None, [fault.NO_TRIAL, instead(self.record, fault)]))
            return
        [cure] = self.run([mend])
        if isinstance(cure, str):
            finding.untried = cure
            return
        if self.is_too_short(cure):
            mended, longer = self.last, self.run_longer(mend)
            if isinstance(longer, str) or not (cure.learns or longer.learns):
                self.last = mended
            else:
                cure = longer
        finding.cures.append(cure)
        self.settled = cure.learns
        self.judge_without_effect(finding, cure)
        if not cure.learns:
            self.tried.append((finding, mend))
            if len(self.tried) > 1:
                self.try_together()

    def is_too_short(self, cure):
        """The run learns mended and as it is; or it is too early to tell of the mended one, whose cause is the only one."""
        errors = [finding for finding, _ in self.judgement.causes if finding.level == "error"]
        return not cure.helps if cure.learns else len(errors) == 1 and measured(self.last) == TOO_EARLY

    def try_together(self):
        """All that were not enough alone."""
        [cure] = self.run([mends.together([mend for _, mend in self.tried])])
        if isinstance(cure, str):
            return
        self.settled = cure.learns
        cure.said += needed(len(self.tried)) if cure.helps else ""
        for finding, _ in self.tried:
            finding.cures.append(cure)

    def judge_without_effect(self, finding, cure):
        """What makes no difference to a run that learns is no error."""
        if cure.learns and not cure.helps and self.judgement.outcome == LEARNS and cure.said != comparing.UNTOUCHED:
            finding.level = "warning"
            cure.said += ", so this is a warning and no error"

    def search(self):
        """Where the run does not learn and no finding's cure changed that: what the mended run shows, then the general
        mends, halved until one is left.

        The set is halved, both halves side by side; where neither is enough alone, it is named as a whole.
        """
        errors = [finding for finding, _ in self.judgement.causes if finding.level == "error"]
        explained = any(not finding.cures or finding.cures[-1].learns for finding in errors)
        if self.untried or explained or self.judgement.outcome != DOES_NOT_LEARN:
            return
        base = [mend for _, mend in self.tried]
        if base and self.seen_behind(base) or any(finding.cures[-1].lower for finding in errors):
            return
        left = [(mend, name) for mend, name in mends.general(self.record) if mend not in base]
        if not self.is_enough([mends.together(base + [mend for mend, _ in left])])[0]:
            return
        while len(left) > 1:
            halves = [left[:(len(left) + 1) // 2], left[(len(left) + 1) // 2:]]
            enough = self.is_enough([mends.together(base + [mend for mend, _ in half]) for half in halves])
            if not any(enough):
                break
            left = halves[enough.index(True)]
        self.name(base, [mend for mend, _ in left], left[0][1] if len(left) == 1 else "")

    def seen_behind(self, base):
        """Is there an error that only the run with the first causes mended (base) shows, and is mending both enough?

        What a mend itself changed is not held against the script.
        """
        mended, already = self.last, mends.together(base)
        causes = {finding.name for finding, _ in self.judgement.causes}
        for finding, _ in judge(mended).causes:
            mend = mend_of(catalogue()[finding.name], mended)
            known = finding.level != "error" or finding.name in causes
            if known or mend is None or mend.changes.keys() & already.changes:
                continue
            if self.is_enough([mends.together([*base, mend])])[0]:
                finding.evidence = {"seen_with": already.words} | finding.evidence
                self.name(base, [mend], finding.name, finding)
                return True
        return False

    def is_enough(self, tried):
        """Whether each of these mends makes the run learn; every trial is kept in the judgement."""
        cures = self.run(tried)
        self.judgement.trials += [cure for cure in cures if not isinstance(cure, str)]
        return [not isinstance(cure, str) and cure.helps for cure in cures]

    def name(self, base, more, fault, finding=None):
        """Name what was found: the mends that were enough beside those of the findings (base).

        fault     the name of what they mend, '' where the catalogue has none
        finding   of its check; None where it was found by trial alone
        """
        if base and self.is_enough([mends.together(more)])[0]:
            base = []               # of a finding that was no cause
        words = mends.together(base + more).words
        cure = next(each for each in reversed(self.judgement.trials) if each.helps and each.tried == words)
        if base:
            cure.said += needed(len(base) + len(more))
            for before, _ in self.tried:
                before.cures.append(cure)
        if fault and finding is None:
            measured = {"steps": cure.steps, "loss_as_it_is": cure.loss_as_it_is, "loss_mended": cure.loss_mended}
            finding = Finding("error", f"found by trial: with {words} the run learns", measured,
                              "no check measured it, but nothing else was changed: "
                              f"{catalogue()[fault].__doc__.splitlines()[0]}", "make that change in the script",
                              name=fault)
        if finding is not None:
            finding.cures = [cure]
        found_by_trial(self.judgement, words, finding)

    def run(self, wanted):
        """What each trial of these mends showed: a Cure, or why there is none; at most one a core at a time."""
        cores, found = os.cpu_count() or 1, []
        for first in range(0, len(wanted), cores):
            some = wanted[first:first + cores]
            records = self.observed([mend.changes for mend in some], some[0])
            if isinstance(records, str):
                return found + [records] * (len(wanted) - first)
            found += [compared(mend, self.as_it_is, record, self.judgement.outcome)
                      for mend, record in zip(some, records)]
        return found

    def run_longer(self, mend):
        """A Cure, or why there is none, of LONGER times the steps beside a run as it is that is as long.

        Some faults do harm only later: gradients that pile up, a schedule that ends.
        """
        more = {"more_steps": LONGER}
        records = self.observed([more, mend.changes | more], mend, LONGER)
        return records if isinstance(records, str) else compared(mend, *records, self.judgement.outcome)

    def observed(self, changes, mend, times=1):
        """The records of the script run with each of these changes, side by side, or why there are none.

        times   so many times the steps of a usual trial
        """
        seconds = min(self.ends - time.monotonic(), times * (TIMES * self.record.seconds + MORE))
        if seconds < FEWEST_SECONDS:
            return "the time was up (--TIME_LIMIT=... allows more)"
        cores, again = os.cpu_count() or 1, [{}] if self.as_it_is is None else []
        threads = max(1, cores // len(again + changes)) if len(again + changes) > 1 else None
        runs = [processes.Run(self.folder / f"trial-{self.begun + place}.log", each, threads)
                for place, each in enumerate(again + changes, 1 - len(again))]
        self.begun += len(changes)
        try:
            records = []
            for first in range(0, len(runs), cores):
                records += processes.observe(runs[first:first + cores], self.record.target, self.record.arguments,
                                             min(seconds, max(1.0, self.ends - time.monotonic())),
                                             f"trial {self.begun}, with {mend.words[:60]}")
        except KeyboardInterrupt:
            self.untried, self.ends = "interrupted", 0
            return "interrupted"
        if again:
            self.as_it_is, *records = records
        self.last = records[-1]
        return records


def ended_early(record):
    """Was the run left before its usual steps, so that a trial would be longer?"""
    first = record.steps[:STILL_STEPS]
    return stand_still(first, [step.rates for step in first]) \
        or any(remaking.kind == "model" for remaking in record.remakings)


def mend_of(fault, record):
    """The Mend of a fault in this run, or None."""
    return fault.mend(record) if hasattr(fault, "mend") else None


def needed(count):
    """What is known of so many mends that were not enough alone, and together are."""
    return ": both are needed" if count == 2 else ": together they are enough"


def compared(mend, as_it_is, mended, outcome):
    """A Cure, or why the two runs do not compare."""
    try:
        return comparing.cure_of(mend, as_it_is, mended, outcome)
    except ValueError as error:
        return str(error)


def instead(record, fault):
    """What the controls showed, where no trial can be made."""
    said = [f"{control.question[:-1]}: {'yes' if control.outcome else 'no'}" for control in record.controls
            if control.name in ASKED.get(fault.GROUP, ALWAYS) and control.outcome is not None]
    return f"the controls instead: {', '.join(said)}" if said else ""
