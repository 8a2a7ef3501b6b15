"""Runs the doctor on every script of this folder and holds its first finding against EXPECTED.json.

    python tests/faults/suite.py                       all scripts, one after another
    python tests/faults/suite.py --only 'faulty/mask*' --jobs 2
    python tests/faults/suite.py --folder tests/faults/unseen_2      scripts by authors who had not seen the checks
    python tests/faults/suite.py --seed 7              the scripts with another number in their manual_seed()
    python tests/faults/suite.py --folder tests/faults/two_causes    each enough to stop learning: both must be named
    python tests/faults/suite.py --folder tests/faults/unknown_cause      no check knows it: does not learn all the same

right: the first finding is one of the expected ones (for a healthy script: no error), and the exit status too;
detected: an expected one is among the findings, but not the first; missed: it is not there, or the status is
wrong; false alarm: a finding of level `error` on a healthy script; broken: no report, the wrong status, or a
process left running. The column cure: with the first finding mended the run learns ("confirmed"), or learns no more
than as it is ("no effect"), or its fault cannot be mended from outside ("-": no trial, or one with the same losses).
The last three columns: seconds until the verdict was printed, of them on a core, and with the trials behind it. Exit
status 1 if any script is not right.
"""
import argparse
import atexit
import contextlib
import fnmatch
import importlib.util
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
DOCTOR = FOLDER.parents[1] / "diagnose_bert.py"
TIME_LIMIT = 300     # seconds given to the doctor for one script
GRACE = 60           # seconds more before it is ended from here


def expectations(folder=FOLDER):
    """Script (relative to the folder) -> {"first": [...], "status": [...], "comment": ..., maybe "limit": seconds and
    "needs": a library that is a requirement of the tests alone}; of two causes "both": their names; of an unknown one
    "outcome" and "found": words of the verdict that name what was found by trial, null where nothing can be}."""
    return json.loads((Path(folder) / "EXPECTED.json").read_text(encoding="utf-8"))


def missing_library(expected):
    """The name of the library that a script needs and that is not installed; None where nothing is missing."""
    needed = expected.get("needs")
    return needed if needed and importlib.util.find_spec(needed) is None else None


def leftovers(mark):
    """Ids of processes that still bear this run's mark in their environment (Linux; none elsewhere)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def end(ids):
    for number in ids:
        try:
            os.kill(number, signal.SIGKILL)
        except OSError:
            pass


def examine(script, limit=TIME_LIMIT, more=()):
    """(exit status or None when it had to be ended, report or None, seconds (to the verdict, of them on a core, in all), its
    last lines, processes left running)."""
    mark = f"SUITE_RUN={uuid.uuid4().hex}"
    environment = {**os.environ, "SUITE_RUN": mark.split("=")[1], "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory(prefix="suite_") as folder:
        command = [sys.executable, str(DOCTOR), f"--REPORT_DIR={folder}/report", f"--TIME_LIMIT={limit}", *more, str(script)]
        log = Path(folder) / "screen.txt"
        start = time.time()
        with open(log, "wb") as out:
            process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=subprocess.STDOUT, start_new_session=True, env=environment)
            to_verdict = until_it_prints(process, log, limit + GRACE)
            try:
                status = process.wait(timeout=max(0.0, start + limit + GRACE - time.time()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                status = None
        seconds = (*to_verdict, time.time() - start)
        left = leftovers(mark)
        if left:
            time.sleep(2)
            left = leftovers(mark)
        end(left)
        found = sorted(Path(folder).rglob("report.json"))
        try:
            report = json.loads(found[0].read_text(encoding="utf-8")) if found else None
        except ValueError:
            report = None
        tail = log.read_bytes()[-4000:].decode("utf-8", "replace").splitlines()[-12:]
    return status, report, seconds, tail, left


def until_it_prints(process, log, limit):
    """Seconds until the first output, which is the verdict, and seconds on a core of the process and those it waited for
    (Linux; NaN elsewhere). Returns when the process ends or the limit is reached, if nothing is printed."""
    start, core = time.time(), math.nan
    while not log.stat().st_size and process.poll() is None and time.time() < start + limit:
        time.sleep(0.05)
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        core = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return time.time() - start, core


def judge(expected, status, report):
    """right, detected, missed, false alarm or broken; and the findings as (level, name)."""
    findings = [(f["level"], f["name"]) for f in (report or {}).get("findings", [])]
    names = [name for _, name in findings]
    status_right = status in expected["status"]
    if report is None:
        # where the examination itself could not be done, no report is needed
        return ("right" if status_right and status == 2 and not expected["first"] else "broken"), findings
    if "outcome" in expected:
        found = (expected["found"] or "") in report["verdict"].partition("found by trial")[2]
        right = report["outcome"] == expected["outcome"] and status_right
        return ("right" if right and found else "detected" if right else "missed"), findings
    if not set(expected.get("both", [])) <= set(names):
        return ("detected" if set(names) & set(expected["both"]) else "missed"), findings
    if not expected["first"]:
        if any(level == "error" for level, _ in findings):
            return "false alarm", findings
        return ("right" if status_right else "broken"), findings
    if names and names[0] in expected["first"] and status_right:
        return "right", findings
    return ("detected" if set(names) & set(expected["first"]) else "missed"), findings


def cure(report):
    """Whether trying the cure bore out the first finding: confirmed, no effect, or - where none was tried or reached the
    run."""
    findings = (report or {}).get("findings") or [{}]
    tried = findings[0].get("cure")
    if not tried or tried["loss_mended"] == tried["loss_as_it_is"]:
        return "-"
    return "confirmed" if tried["helps"] else "no effect"


def reseeded(folder, seed):
    """A copy of the scripts that seed torch with this number; it goes when this process ends."""
    copied = Path(tempfile.mkdtemp(prefix="suite_seed_"))
    atexit.register(shutil.rmtree, copied, ignore_errors=True)
    shutil.copytree(folder, copied, dirs_exist_ok=True)
    for path in copied.rglob("*.py"):
        path.write_text(re.sub(r"manual_seed\(\d+\)", f"manual_seed({seed})", path.read_text("utf-8")), "utf-8")
    return copied


def run_one(script, folder=FOLDER, limit=TIME_LIMIT, more=()):
    """Examine one script ("faulty/mask_missing.py"), with more of the doctor's constants: a dict of what came of it."""
    expected = expectations(folder)[str(script)]
    limit = min(limit, expected.get("limit", limit))
    status, report, seconds, tail, left = examine(Path(folder) / script, limit, more)
    outcome, findings = judge(expected, status, report)
    if left:
        outcome = "broken"
        tail.append(f"{len(left)} process(es) left running")
    return {
        "script": str(script), "expected": expected["first"], "expected_status": expected["status"],
        "status": status, "outcome": outcome, "first": findings[0][1] if findings else "",
        "findings": findings, **dict(zip(("to_verdict", "on_a_core", "seconds"), seconds)), "tail": tail, "left": left, "cure": cure(report),
        "tried": [finding.get("cure") or finding.get("cure_reason") for finding in (report or {}).get("findings", [])],
        "trials": (report or {}).get("trials", []), "verdict": (report or {}).get("verdict", ""),
        "outcome_of_run": (report or {}).get("outcome"),
    }


def line(r, wide):
    expected = " | ".join(r["expected"]) or "(healthy)"
    first = f"{r['findings'][0][0]}:{r['first']}" if r["findings"] else "-"
    return f"{r['script']:<{wide}} {expected[:36]:<36} {first:<36} {str(r['status']):>6} {r['outcome']:<12} {r['cure']:<10} " \
           f"{r['to_verdict']:7.1f} {r['on_a_core']:6.1f} {r['seconds']:6.1f}"


def totals(results):
    """The lines of the summary."""
    faulty = [r for r in results if r["expected"]]
    healthy = [r for r in results if not r["expected"]]
    right = sum(r["outcome"] == "right" for r in faulty)
    detected = sum(r["outcome"] in ("right", "detected") for r in faulty)
    alarms = [r for r in healthy if r["outcome"] == "false alarm"]
    broken = [r for r in results if r["outcome"] == "broken"]
    share = lambda n: f"{n} of {len(faulty)}" + (f" ({n / len(faulty):.0%})" if faulty else "")
    out = [
        f"first cause right  {share(right)}",
        f"detected at all    {share(detected)}",
        f"cure confirmed     {sum(r['cure'] == 'confirmed' for r in faulty)} of {sum(r['cure'] != '-' for r in faulty)} tried",
        f"false alarms       {len(alarms)} of {len(healthy)} healthy or unfit scripts",
        f"broken             {len(broken)} (no report, or the wrong exit status)",
    ]
    if results:
        slowest = max(results, key=lambda r: r["seconds"])
        wall, core = (statistics.median(r[name] for r in results) for name in ("to_verdict", "on_a_core"))
        out.append(f"to the verdict     median {wall:.0f} s, of them {core:.0f} s on a core")
        out.append(f"slowest            {slowest['seconds']:.0f} s {slowest['script']}")
    for r in results:
        if r["outcome"] != "right":
            names = ", ".join(f"{level}:{name}" for level, name in r["findings"]) or "no finding"
            out.append(f"  {r['outcome']:<12} {r['script']}: expected {r['expected'] or 'no error'}"
                       f" status {r['expected_status']}, got {names} status {r['status']}")
            if r["outcome"] == "broken":
                out += [f"      {text}" for text in r["tail"][-4:]]
    for r in healthy:
        warned = [name for level, name in r["findings"] if level == "warning"]
        if warned:
            out.append(f"  warning on   {r['script']}: {', '.join(warned)}")
    return out


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="a pattern for the scripts' names, such as 'healthy/*' or '*mask*'")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--folder", default=str(FOLDER), help="a folder with scripts and EXPECTED.json")
    parser.add_argument("--limit", type=int, default=TIME_LIMIT, help="the doctor's TIME_LIMIT in seconds")
    parser.add_argument("--seed", type=int, help="number to put into the scripts' manual_seed() calls")
    parser.add_argument("--json", help="also write the results to this file")
    args = parser.parse_args(argv)
    folder = Path(args.folder).resolve()
    if args.seed is not None:
        folder = reseeded(folder, args.seed)
    scripts = [s for s in expectations(folder) if fnmatch.fnmatch(s, args.only) or fnmatch.fnmatch(s, f"*{args.only}*")]
    if not scripts:
        parser.error(f"no script matches {args.only!r}")
    wide = max(map(len, scripts))
    for script in list(scripts):
        if missing := missing_library(expectations(folder)[script]):
            print(f"{script:<{wide}} skipped: {missing} is not installed")
            scripts.remove(script)
    print(f"{'script':<{wide}} {'expected':<36} {'first finding':<36} {'status':>6} {'outcome':<12} {'cure':<10} "
          f"{'verdict':>7} {'core':>6} {'all s':>6}")
    results = []
    with ThreadPoolExecutor(args.jobs) as pool:
        for result in pool.map(lambda s: run_one(s, folder, args.limit), scripts):
            results.append(result)
            print(line(result, wide), flush=True)
    print()
    print("\n".join(totals(results)))
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1), encoding="utf-8")
    return int(any(r["outcome"] != "right" for r in results))


if __name__ == "__main__":
    sys.exit(main())
