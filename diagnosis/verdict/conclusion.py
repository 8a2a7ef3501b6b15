"""What record and findings come to: the verdict in a sentence, and what the controls say together.

judge.py asks each of these once and keeps the answers in the Judgement, which is all that report and look read.
"""

from diagnosis.faults import catalogue
from diagnosis.record.record import place
from diagnosis.verdict import course
from diagnosis.verdict.measures import crash_line
from diagnosis.verdict.outcome import DOES_NOT_LEARN, LEARNS, measured


def outcome(record, judgement):
    """'learns', 'does not learn' or 'too early to tell'; '' where no step was seen or nothing could be judged.

    As it was measured, unless an error stops the run that the steps seen cannot show yet.
    """
    if judgement.reason:
        return ""
    stopped = any(finding.level == "error" and finding.effect == "stops" for finding in judgement.findings)
    return DOES_NOT_LEARN if stopped and not has_learned(record) else measured(record)


def verdict(record, judgement):
    """One sentence, which begins with the outcome: the first cause and its place, or that nothing was found."""
    if judgement.reason:
        return f"could not be examined: {judgement.reason}"
    notes = sum(finding.level == "note" for finding in judgement.findings)
    serious = [finding for finding in judgement.findings if finding.level != "note"]
    if serious:
        first = serious[0]
        where = ", ".join(filter(None, [first.name, place(first.where)]))
        text = f"{effect_on_learning(record, first, judgement)}: {first.title} ({where})"
    else:
        made = f"{len(judgement.passed)} checks passed, {len(judgement.not_checked)} not made"
        text = f"does not learn, and no cause was found: {made}" if judgement.outcome == DOES_NOT_LEARN else \
            f"{judgement.outcome}{': ' * bool(judgement.outcome)}nothing found that stops this run from learning: {made}"
        text += f", {notes} {'note' if notes == 1 else 'notes'}" if notes else ""
    seen = f"{record.optimizer_steps} optimizer step{'' if record.optimizer_steps == 1 else 's'}"
    if record.ended == "crashed" and record.optimizer_steps:
        text += f"; the script itself crashed after {seen}: {crash_with_place(record.crash)}"
    if record.ended == "time limit":
        text += f"; judged by {seen}, for then its time was up"
    untimely = out_of_time(record)
    if untimely:
        text += f"; not measured for want of time: {', '.join(untimely)}"
    return text


def found_by_trial(judgement, words, finding):
    """A trial found what no check did: the run learns with that changed. finding: of the catalogue's fault, or None.

    It stands in place of one of that name that was a warning or was taken for another's consequence.
    """
    if finding is not None:
        name = finding.name
        left = [also for first, others in judgement.causes if first.name == name for also in others]
        judgement.findings = [each for each in judgement.findings if each.name != name] + [finding]
        judgement.causes = [(first, [also for also in others if also.name != name])
                            for first, others in judgement.causes if first.name != name] + [(finding, left)]
        if finding.name in judgement.passed:
            judgement.passed.remove(finding.name)
        judgement.not_checked = [(name, reason) for name, reason in judgement.not_checked if name != finding.name]
    which = f" ({finding.name})" if finding is not None else ""
    judgement.verdict += f"; found by trial: it learns with {words}{which}"


def effect_on_learning(record, finding, judgement):
    """The outcome and what this finding has to do with it, in words that begin the verdict."""
    outcome = judgement.outcome
    if leads_to_crash(record, finding, judgement.findings) and not record.optimizer_steps:
        return "crashes before it learns anything"
    misleads = finding.effect == "misleads"
    if outcome in ("", LEARNS):
        but = f"{outcome}, but " if outcome else ""
        return f"{but}its figures mislead" if misleads else "learns less than it could"
    if outcome == DOES_NOT_LEARN:
        return f"{outcome}, and its figures mislead" if misleads else outcome
    return f"{outcome}, and {'its figures mislead' if misleads else 'it learns less than it could'}"


def out_of_time(record):
    """The controls that were cut off or never begun because the time was up."""
    return [control.name for control in record.controls
            if control.outcome is None and control.reason.startswith("time")]


def explains_crash(record, finding):
    """Is this finding what ended the script? Its check then holds the error's own message in its evidence."""
    return record.ended == "crashed" and finding.level == "error" and bool({"crash", "message"} & set(finding.evidence))


def leads_to_crash(record, finding, findings):
    """Does this finding explain how the script ended, or is it an error that causes one that does?"""
    return explains_crash(record, finding) or finding.level == "error" and any(
        explains_crash(record, other) and finding.name in catalogue()[other.name].CAUSED_BY for other in findings)


def has_learned(record):
    """The loss seen is far below that of guessing, whatever will stop the run later."""
    trend, guess = course.trend(record), course.guessing_loss(record)
    return trend is not None and guess is not None and trend.last < 0.5 * guess


def not_examined(record, findings, time_limit):
    """Why the run could not be judged at all, in one clause; None where it could. time_limit: seconds it was given."""
    if record.ended == "crashed":
        explained = any(explains_crash(record, finding) for finding in findings)
    else:
        explained = record.backwards and any(finding.level == "error" for finding in findings)
    if record.optimizer_steps or explained:
        return None
    if record.ended == "crashed" and record.crash.kind == "SystemExit":
        return f"the script left by sys.exit({record.crash.message.strip()}) before its first training step"
    if record.ended == "crashed":
        return f"the script crashed before its first training step: {crash_with_place(record.crash)}"
    if record.ended.startswith("would write over"):
        return f"the script was ended where it {record.ended}, before its first training step"
    if record.ended == "asked for input":
        return "the script asks for input before its first training step; give it by arguments or a file instead"
    if record.ended == "time limit":
        return f"no optimizer step was seen within {time_limit:g} s (--TIME_LIMIT=... allows more)"
    return "the script ended without one optimizer step: it does no training when it is run like this"


def crash_with_place(crash):
    """KeyError: 'text' (train.py:12)"""
    return crash_line(crash) + (f" ({place(crash.site)})" if crash.site else "")


# ---- the controls together


def learnable(record):
    """Can the labels be predicted from these texts at all? None where that was not measured."""
    outcomes = [control.outcome for name in ("labels-from-tokens", "labels-from-features")
                if (control := record.control(name)) is not None and control.outcome is not None]
    return any(outcomes) if outcomes else None


def side(record):
    """On which side the fault is, from what passed and failed together."""
    outcome = {control.name: control.outcome for control in record.controls}
    predictable, model, own = learnable(record), outcome.get("model-overfits"), outcome.get("own-optimizer")
    if predictable is False:
        return "taken together: the labels cannot be predicted from the texts, so look at the data first"
    if model is False:
        return ("taken together: this model does not even learn one batch by heart with a plain optimizer, "
                "so look at the model")
    if model and own is False:
        return ("taken together: the model learns one batch by heart with a plain optimizer but not with the script's "
                "own, so look at the optimization")
    if predictable and model and own:
        return "taken together: data, model and optimizer each can learn"
    return "taken together: too little was measured to say on which side a fault would be"
