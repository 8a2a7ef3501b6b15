"""What the user gets to see: the screen, report.json, report.md and the two pictures."""

import importlib.metadata
import json
import math
import platform
import shutil
import textwrap
from pathlib import Path

from diagnosis.verdict import course, pictures, tables
from diagnosis.faults import catalogue
from diagnosis.verdict.judge import learnable
from diagnosis.verdict.tables import place, readable

SHOWN_EXAMPLES = 2      # examples of the encoding on the screen; the rest is in report.md
SHOWN_FIGURES = 4       # figures of a control on the screen; likewise


def verdict(record, judgement, reason=None):
    """One sentence: the first cause and its place, or that nothing was found."""
    if reason:
        return f"could not be examined: {reason}"
    notes = sum(finding.level == "note" for finding in judgement.findings)
    serious = [finding for finding in judgement.findings if finding.level != "note"]
    if serious:
        first = serious[0]
        where = ", ".join(filter(None, [first.name, place(first.where)]))
        text = f"{consequence(record, first)}: {first.title} ({where})"
    else:
        text = (f"nothing found that stops this run from learning: {len(judgement.passed)} checks passed, "
                f"{len(judgement.not_checked)} not made")
        text += f", {notes} {'note' if notes == 1 else 'notes'}" if notes else ""
    seen = f"{record.optimizer_steps} optimizer step{'' if record.optimizer_steps == 1 else 's'}"
    if record.ended == "crashed" and record.optimizer_steps:
        text += f"; the script itself crashed after {seen}: {crash_line(record.crash)}"
    if record.ended == "time limit":
        text += f"; judged by {seen}, for then its time was up"
    return text


def crash_line(crash):
    """The error in one line: KeyError: 'text' (train.py:12)."""
    message = (crash.message.strip().splitlines() or [""])[0]
    text = ": ".join(filter(None, [crash.kind, message]))
    return text + (f" ({place(crash.site)})" if crash.site else "")


def consequence(record, finding):
    if record.ended == "crashed" and not record.optimizer_steps:
        return "crashes before it learns anything"
    effect = catalogue()[finding.name].EFFECT
    if effect == "misleads":
        return "its figures mislead"
    stops = finding.level == "error" and effect == "stops" and not has_learned(record)
    return "does not learn" if stops else "learns less than it could"


def has_learned(record):
    """The loss seen is far below that of guessing, whatever will stop the run later."""
    trend, guess = course.trend(record), course.guessing_loss(record)
    return trend is not None and guess is not None and trend.last < 0.5 * guess


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
            next(folded for first, folded in listed if first.name == cause).append(finding)
    return listed


# the screen


def screen(record, judgement, report_dir, reason=None):
    """All that is printed: verdict, findings, what was checked, controls, figures, where the rest lies."""
    width = max(min(shutil.get_terminal_size((110, 24)).columns, 120), 60)
    blocks = [textwrap.wrap(verdict(record, judgement, reason), width, break_on_hyphens=False)]
    for finding, folded in under_their_causes(judgement.findings):
        blocks.append(finding_lines(finding, folded, width))
    if record.crash and record.crash.traceback and record.crash.kind != "SystemExit":
        blocks.append(["the script's own traceback"] + indented(record.crash.traceback))
    elif reason:
        blocks.append(last_words(Path(report_dir) / "script.log"))
    if not reason:
        blocks += [tables.plain(table, width) for table in checked(judgement)]
        shown = [tables.controls(record, SHOWN_FIGURES), *tables.figures(record)]
        blocks += [tables.plain(for_the_screen(table, width), width) for table in shown if table.rows]
    blocks.append(whereabouts(judgement, report_dir, reason))
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def finding_lines(finding, folded, width):
    """A finding in five parts: level and name with what was seen, place, measured, why, help."""
    lines = textwrap.wrap(f"{finding.level}[{finding.name}]: {finding.title}", width, subsequent_indent="  ",
                          break_on_hyphens=False)
    if finding.where:
        lines.append(f"  --> {place(finding.where)}  {finding.where.code}".rstrip())
    evidence = finite(finding.evidence).items()
    measured = "; ".join(f"{name.replace('_', ' ')} {readable(value)}" for name, value in evidence)
    said = [("measured: ", measured), ("why:  ", finding.why), ("help: ", finding.fix)]
    said += [("so also: ", f"{one.title} ({one.level}[{one.name}])") for one in folded]
    for word, text in said:
        lines += textwrap.wrap(text, width, initial_indent="  " + word, subsequent_indent=" " * (2 + len(word)),
                               break_on_hyphens=False) if text else []
    return lines


def indented(text):
    return ["  " + line for line in text.rstrip().splitlines()]


def last_words(log, count=8):
    """The end of what the script printed, where it says more than we know."""
    if not log.exists():
        return []
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return ["the last lines of its output"] + ["  " + line[-200:] for line in lines[-count:]] if lines else []


def checked(judgement):
    """Two tables: what passed, by group, and what was not checked, by reason."""
    passed, reasons = {}, {}
    faults = catalogue()
    for name in judgement.passed:
        passed.setdefault(faults[name].GROUP, []).append(name)
    for name, reason in judgement.not_checked:
        reasons.setdefault(reason, []).append(name)
    made = len(judgement.passed) + len(judgement.findings)
    title = f"checked and passed: {len(judgement.passed)} of {made} checks made"
    both = (tables.Table(title, ["", ""], [[group, ", ".join(names)] for group, names in passed.items()]),
            tables.Table(f"not checked: {len(judgement.not_checked)}", ["", ""],
                         [[", ".join(names), reason] for reason, names in reasons.items()]))
    return [table for table in both if table.rows]


def for_the_screen(table, width):
    """The table with long examples cut to a line each, and only the first few of them."""
    if table.title != "examples":
        return table
    room = width - 12
    rows = [[name, text if len(text) <= room else text[:room - 4].rstrip() + " ..."] for name, text in table.rows]
    return tables.Table(table.title, table.columns, rows[:4 * SHOWN_EXAMPLES], table.notes)


def whereabouts(judgement, report_dir, reason):
    lines = [f"{'report':<9} {Path(report_dir) / 'report.md'}" + ("" if reason else "  (with two pictures)"),
             f"{'output':<9} {Path(report_dir) / 'script.log'}  (what the script printed)"]
    if judgement.findings:
        lines.append(f"{'more':<9} python diagnose_bert.py --explain {judgement.findings[0].name}")
    return lines


# the files


def write(record, judgement, report_dir, reason=None):
    """report.json, report.md and, where anything was judged, gradient_flow.png and learning_rate.png."""
    report_dir = Path(report_dir)
    text = json.dumps(as_json(record, judgement, reason), indent=2, ensure_ascii=False, allow_nan=False)
    (report_dir / "report.json").write_text(text + "\n", encoding="utf-8")
    (report_dir / "report.md").write_text(as_markdown(record, judgement, reason), encoding="utf-8")
    for name, draw in (("gradient_flow.png", pictures.gradient_flow), ("learning_rate.png", pictures.learning_rate)):
        if reason:
            (report_dir / name).unlink(missing_ok=True)     # of an examination before this one
        else:
            draw(record, report_dir / name)


def as_json(record, judgement, reason=None):
    """The report for programs, as the contract has it."""
    return {
        "version": 1,
        "target": record.target,
        "verdict": verdict(record, judgement, reason),
        "learnable": learnable(record),
        "findings": [{"name": one.name, "level": one.level, "title": one.title, "evidence": finite(one.evidence),
                      "why": one.why, "fix": one.fix,
                      "where": {"file": one.where.file, "line": one.where.line} if one.where else None}
                     for one in judgement.findings],
        "passed": list(judgement.passed),
        "not_checked": [{"name": name, "reason": why} for name, why in judgement.not_checked],
        "seconds": round(record.seconds, 1),
        "device": record.device,
    }


def finite(value):
    """The value as JSON can hold it: infinity and NaN as texts, numbers of other libraries as Python's own."""
    if isinstance(value, dict):
        return {str(name): finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [finite(one) for one in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    elif hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)


def as_markdown(record, judgement, reason=None):
    """The whole report: findings with all their evidence, pictures, every table."""
    said = verdict(record, judgement, reason)
    lines = [f"# {record.target}", "", f"**{said[0].upper()}{said[1:]}.**", ""]
    for finding, folded in under_their_causes(judgement.findings):
        lines += finding_markdown(finding, "##")
        for one in folded:
            lines += [f"It follows from `{finding.name}`:", ""] + finding_markdown(one, "###")
    if record.crash and record.crash.traceback:
        lines += ["## The script's own traceback", "", "```text", record.crash.traceback.rstrip(), "```", ""]
    if not reason:
        lines += ["## What was checked", ""]
        for table in checked(judgement):
            lines += tables.markdown(table)
        lines += ["## Controls", ""] + tables.markdown(tables.controls(record))[2:] if record.controls else []
        lines += ["## Figures", "", "![gradient norm by layer](gradient_flow.png)", "",
                  "![learning rate](learning_rate.png)", ""]
        for table in tables.figures(record):
            lines += tables.markdown(table)
    if record.observer_errors:
        lines += ["## What could not be observed", ""] + [f"- {error}" for error in record.observer_errors] + [""]
    lines += ["## Made with", "", " ".join(["`python diagnose_bert.py", record.target, *record.arguments]) + "`", "",
              f"{versions()}; {record.seconds:.1f} s on {record.device}", ""]
    return "\n".join(lines)


def finding_markdown(finding, heading):
    lines = [f"{heading} {finding.level}: `{finding.name}`", "", f"{finding.title[:1].upper()}{finding.title[1:]}.", ""]
    if finding.where:
        lines += [f"`{place(finding.where)}`" + (f": `{finding.where.code}`" if finding.where.code else ""), ""]
    if finding.evidence:
        lines += ["| measured | value |", "| --- | --- |"]
        evidence = finite(finding.evidence).items()
        lines += [f"| {name.replace('_', ' ')} | {every(value)} |" for name, value in evidence] + [""]
    return lines + [f"Why: {finding.why}", "", f"Help: {finding.fix}", ""]


def every(value):
    """A measured value in full, for a cell of a table."""
    text = ", ".join(map(readable, value)) if isinstance(value, (list, tuple)) else readable(value)
    return text.replace("|", "\\|").replace("\n", " ")


def versions():
    found = [f"Python {platform.python_version()}"]
    for package in ("torch", "transformers"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            pass
    return ", ".join(found)
