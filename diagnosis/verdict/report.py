"""What the user gets to see: the screen, report.json, report.md and the two pictures.

Everything here is read off the record (what was seen) and the judgement (what was made of it).
"""

import importlib.metadata
import json
import math
import platform
import re
import shutil
import textwrap
from pathlib import Path

from diagnosis.record.arithmetic import rounded
from diagnosis.record.record import place
from diagnosis.verdict import pictures, tables
from diagnosis.verdict.scored import scores
from diagnosis.verdict.tables import readable

SHOWN_EXAMPLES = 2      # examples of the encoding on the screen; the rest is in report.md
SHOWN_FIGURES = 4       # figures of a control on the screen; likewise


# the screen


def screen(record, judgement, report_dir):
    """All that is printed: verdict, findings, what was checked, controls, figures, where the rest lies."""
    return "\n".join(line for lines in screen_parts(record, judgement, report_dir) for line in lines)


def screen_parts(record, judgement, report_dir, trials=None):
    """The screen's lines, each part as soon as it stands: a finding before its cure is tried.

    trials   with try_cure(finding) and search(), which fill the judgement; None where nothing is to be tried
    """
    width = screen_width()
    yield textwrap.wrap(judgement.verdict, width, break_on_hyphens=False)
    for finding, consequences in list(judgement.causes):
        yield ["", *finding_lines(finding, consequences, width)]
        if trials is not None:
            trials.try_cure(finding)
        yield tried_lines(finding, width)
    if trials is not None:
        shown = [id(finding) for finding, _ in judgement.causes]
        trials.search()
        yield search_lines(judgement, width)
        for finding, consequences in [cause for cause in judgement.causes if id(cause[0]) not in shown]:
            yield ["", *finding_lines(finding, consequences, width), *tried_lines(finding, width)]
    for lines in rest_of_screen(record, judgement, report_dir, width):
        yield ["", *lines] if lines else []


def rest_of_screen(record, judgement, report_dir, width):
    """All behind the findings, as lists of lines."""
    yield warning_lines(record, width)
    if record.crash and record.crash.traceback and record.crash.kind != "SystemExit":
        yield ["the script's own traceback"] + indented(record.crash.traceback)
    elif judgement.reason:
        yield last_words(Path(report_dir) / "script.log")
    if not judgement.reason:
        score = tables.own_score(record)
        for table in [score] * bool(score) + list(tables.checked(judgement)):
            yield tables.plain(table, width)
        for table in [tables.controls(record, judgement, SHOWN_FIGURES), *tables.figures(record)]:
            yield tables.plain(for_the_screen(table, width), width) if table.rows else []
    yield whereabouts(record, judgement, report_dir)


def screen_width():
    return max(min(shutil.get_terminal_size((110, 24)).columns, 120), 60)


def finding_lines(finding, consequences, width):
    """A finding in five parts: level and name with what was seen, place, measured, why, help."""
    lines = textwrap.wrap(f"{finding.level}[{finding.name}]: {finding.title}", width, subsequent_indent="  ",
                          break_on_hyphens=False)
    if finding.where:
        lines.append(f"  --> {place(finding.where)}  {finding.where.code}".rstrip())
    lines += set_lines(finding)
    evidence = finite(finding.evidence).items()
    measured = "; ".join(f"{name.replace('_', ' ')} {readable(value)}" for name, value in evidence)
    said = [("measured: ", measured), ("why:  ", finding.why), ("help: ", finding.fix)]
    said += [("so also: ", f"{also.title} ({also.level}[{also.name}])") for also in consequences]
    for word, text in said:
        lines += part_of_finding(word, [text] if text else [], width)
    return lines


def set_lines(finding):
    """Beside the line in which a value acts, the one in which it is set."""
    setting = finding.set_by
    if setting is None:
        return []
    return [f"  set by {setting.argument}" if setting.argument else
            f"  set in {place(setting.site)}  {without_comment(setting.site.code)}".rstrip()]


def without_comment(code):
    """A line of source as far as its comment; a # within quotes counts for none."""
    return re.split(r"\s+# ", code)[0]


def tried_lines(finding, width):
    """The sixth part of a finding: what trying its cure showed, or why it was not tried."""
    return part_of_finding("tried: ", tried(finding), width)


def tried(finding):
    """What trying its cure showed, a text for each trial."""
    if finding.cures or finding.level != "error" or not finding.untried:
        return [in_one_line(cure) for cure in finding.cures]
    return [f"nothing: {finding.untried}"]


def search_lines(judgement, width):
    """Every trial of general mends, helpful or not."""
    if not judgement.trials:
        return []
    found = [cure for cure in judgement.trials if cure.helps]
    said = ["", "searched by trial" + ("" if found else ": none of what can be changed from outside makes it learn")]
    return said + part_of_finding("tried: ", map(in_one_line, judgement.trials), width)


def part_of_finding(word, texts, width):
    """A part of a finding, one paragraph a text."""
    return [line for text in texts for line in textwrap.wrap(
        text, width, initial_indent="  " + word, subsequent_indent=" " * (2 + len(word)), break_on_hyphens=False)]


def in_one_line(cure):
    as_it_is = "as it is it makes no step" if None in cure.loss_as_it_is else f"as it is {from_to(cure.loss_as_it_is)}"
    return (f"with {cure.tried}, nothing else changed: loss {from_to(cure.loss_mended)} in {cure.steps} steps "
            f"({as_it_is}): {cure.said}")


def from_to(ends):
    return f"{ends[0]:.4g} → {ends[1]:.4g}"


def warning_lines(record, width):
    """What the libraries themselves said of a cause."""
    said = [f"{warned.text} ({place(warned.site)})" if warned.site else warned.text for warned in record.warnings]
    lines = [line for text in said for line in textwrap.wrap(text, width - 4, initial_indent="  ",
                                                             subsequent_indent="    ", break_on_hyphens=False)]
    return ["the libraries warn"] + lines if lines else []


def indented(text):
    return ["  " + line for line in text.rstrip().splitlines()]


def last_words(log, count=8):
    """The end of what the script printed, where it says more than we know."""
    if not log.exists():
        return []
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return ["the last lines of its output"] + ["  " + line[-200:] for line in lines[-count:]] if lines else []


def for_the_screen(table, width):
    """The table with long examples cut to a line each, and only the first few of them."""
    if table.title != "examples":
        return table
    room = width - 12
    rows = [[name, text if len(text) <= room else text[:room - 4].rstrip() + " ..."] for name, text in table.rows]
    return tables.Listing(table.title, table.columns, rows[:4 * SHOWN_EXAMPLES], table.notes)


def whereabouts(record, judgement, report_dir):
    pictures_too = "" if judgement.reason else "  (with two pictures)"
    lines = [f"{'report':<9} {Path(report_dir) / 'report.md'}{pictures_too}",
             f"{'output':<9} {Path(report_dir) / 'script.log'}  (what the script printed)"]
    if record.left_out:
        lines.append(f"{'left out':<9} {readable(record.left_out)}  (not Python; such lines of a notebook are not run)")
    if record.kept_files:
        lines.append(f"{'kept':<9} {readable(record.kept_files)}  (as before, whatever the script did there)")
    if judgement.findings:
        lines.append(f"{'more':<9} python diagnose_bert.py --explain {judgement.findings[0].name}")
    return lines


# the files


def write(record, judgement, report_dir):
    """report.json, report.md and, where anything was judged, gradient_flow.png and learning_rate.png."""
    report_dir = Path(report_dir)
    text = json.dumps(as_json(record, judgement), indent=2, ensure_ascii=False, allow_nan=False)
    (report_dir / "report.json").write_text(text + "\n", encoding="utf-8")
    (report_dir / "report.md").write_text(as_markdown(record, judgement), encoding="utf-8")
    for name, draw in (("gradient_flow.png", pictures.gradient_flow), ("learning_rate.png", pictures.learning_rate)):
        if judgement.reason:
            (report_dir / name).unlink(missing_ok=True)     # of an examination before this one
        else:
            draw(record, report_dir / name)


def as_json(record, judgement):
    """The report for programs, as the contract has it."""
    return {
        "version": 1,
        "target": record.target,
        "verdict": judgement.verdict,
        "outcome": judgement.outcome or None,
        "learnable": judgement.learnable,
        "findings": [finding_json(finding) for finding in judgement.findings],
        **({"trials": [cure_json(cure) for cure in judgement.trials]} if judgement.trials else {}),
        "scores": scores_json(record),
        "passed": list(judgement.passed),
        "not_checked": [{"name": name, "reason": why} for name, why in judgement.not_checked],
        "seconds": round(record.seconds, 1),
        "device": record.device,
    }


def scores_json(record):
    """The doctor's own validation score and what the script made of the same rows, rounded; None where neither is."""
    both = scores(record)
    return both and {whose: score and {name: rounded(value, 4) for name, value in score.items()}
                     for whose, score in both.items()}


def finding_json(finding):
    where = {"file": finding.where.file, "line": finding.where.line} if finding.where else None
    if where and finding.where.cell:
        where["cell"] = finding.where.cell
    setting = finding.set_by
    set_by = {"set_by": {"argument": setting.argument} if setting.argument else
              {"file": setting.site.file, "line": setting.site.line}} if setting else {}
    return {"name": finding.name, "level": finding.level, "title": finding.title,
            "evidence": finite(finding.evidence), "why": finding.why, "fix": finding.fix, "where": where,
            "cure": cure_json(finding.cures[-1]) if finding.cures else None, **set_by} | (
                {} if finding.cures else {"cure_reason": finding.untried or "not tried"})


def cure_json(cure):
    """The trial by the contract, with what came of it in words."""
    return {"tried": cure.tried, "steps": cure.steps, "loss_as_it_is": cure.loss_as_it_is,
            "loss_mended": cure.loss_mended, "learns": cure.learns, "helps": cure.helps, "said": cure.said}


def finite(value):
    """The value as JSON can hold it: infinity and NaN as texts, numbers of other libraries as Python's own."""
    if isinstance(value, dict):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [finite(part) for part in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    elif hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)


def as_markdown(record, judgement):
    """The whole report: findings with all their evidence, pictures, every table."""
    lines = [f"# {record.target}", "", f"**{judgement.verdict[0].upper()}{judgement.verdict[1:]}.**", ""]
    for finding, consequences in judgement.causes:
        lines += finding_markdown(finding, "##")
        for consequence in consequences:
            lines += [f"It follows from `{finding.name}`:", ""] + finding_markdown(consequence, "###")
    if judgement.trials:
        lines += ["## Searched by trial", ""] + [f"- {in_one_line(cure)}" for cure in judgement.trials] + [""]
    if record.warnings:
        lines += ["## What the libraries warn of", ""] + [f"- {warned.text} {place(warned.site)}".rstrip()
                                                         for warned in record.warnings] + [""]
    if record.crash and record.crash.traceback:
        lines += ["## The script's own traceback", "", "```text", record.crash.traceback.rstrip(), "```", ""]
    if not judgement.reason:
        score = tables.own_score(record)
        lines += tables.markdown(score) if score else []
        lines += ["## What was checked", ""]
        for table in tables.checked(judgement):
            lines += tables.markdown(table)
        if record.controls:
            lines += ["## Controls", ""] + tables.markdown(tables.controls(record, judgement))[2:]
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
    lines += [line.strip() for line in set_lines(finding)] + [""] * bool(finding.set_by)
    if finding.evidence:
        lines += ["| measured | value |", "| --- | --- |"]
        evidence = finite(finding.evidence).items()
        lines += [f"| {name.replace('_', ' ')} | {every(value)} |" for name, value in evidence] + [""]
    lines += [f"Why: {finding.why}", "", f"Help: {finding.fix}", ""]
    return lines + [line for text in tried(finding) for line in (f"Tried: {text}", "")]


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
