"""A notebook as one Python source: its code cells in order, without what is no Python, and which line is which cell's.

Cells are counted as a notebook numbers them when all are run: code cells alone, from 1.
"""

import ast
import bisect
import json
import re
from dataclasses import dataclass, field

MAGIC = re.compile(r"(?P<indent>\s*)(?P<before>[\w.,\s\[\]'\"]*=\s*)?(?P<mark>%%?|!!?|\?\??)(?P<rest>.*)")
HELP = re.compile(r"\s*[%\w.]+\?\??\s*$")
RUNS_PYTHON = {"time", "timeit", "prun", "capture", "memit", "mprun", "lprun"}     # magics that run what follows them
OPTIONS = re.compile(r"(\s+-{1,2}\w+(\s+\d+)?)*\s*")


@dataclass
class Notebook:
    source: str                 # every cell's lines, one cell after the other
    starts: list[int]           # the line of the source that each cell begins at, from 1
    left_out: list[str] = field(default_factory=list)      # what is no Python, with its place

    def place(self, line):
        """(cell, line in it) of a line of the source."""
        cell = bisect.bisect_right(self.starts, line)
        return cell, line - self.starts[cell - 1] + 1


def is_notebook(path):
    return str(path).endswith(".ipynb")


def read(path):
    """The Notebook in a file.

    Raises:
        OSError, ValueError: it cannot be read, is no notebook, or one of another language.
        SyntaxError: a cell is no Python; its message tells the place.
    """
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    cells = content.get("cells") if isinstance(content, dict) else None
    if not isinstance(cells, list):
        raise ValueError("it holds no list of cells")
    language = content.get("metadata", {}).get("kernelspec", {}).get("language", "python")
    if language.lower() != "python":
        raise ValueError(f"its cells are {language}")
    lines, starts, left_out = [], [], []
    for cell in cells:
        if cell.get("cell_type") != "code":
            continue
        text = cell.get("source", "")
        text = text if isinstance(text, str) else "".join(text)
        kept, skipped = python_of(text.splitlines(), len(starts) + 1)
        starts.append(len(lines) + 1)
        lines += kept or [""]
        left_out += [f"cell {len(starts)}, line {number}: {line.strip()}" for number, line in skipped]
    return Notebook("\n".join(lines) + "\n", starts, left_out)


def python_of(lines, cell):
    """(lines, [(number, line left out)]) of a cell: what is no Python is replaced by `pass`, line for line."""
    lines, left_out = list(lines), []
    first = next((index for index, line in enumerate(lines) if line.strip()), None)
    if first is not None and lines[first].startswith("%%"):
        name = lines[first][2:].split(" ")[0].strip()
        left_out.append((first + 1, lines[first]))
        if name not in RUNS_PYTHON:
            return [""] * len(lines), left_out
        lines[first] = ""
    while True:
        try:
            ast.parse("\n".join(lines))
            return lines, left_out
        except SyntaxError as error:
            upwards = range(min(error.lineno or 1, len(lines)), 0, -1)
            if not any(leave_out(lines, number, left_out) for number in upwards):
                error.msg = f"cell {cell}, line {error.lineno}: not valid Python: {error.msg}"
                raise


def leave_out(lines, number, left_out):
    """Replace a magic, a shell line or a question by the Python in it, or by `pass`; False where the line is none."""
    line = lines[number - 1]
    found = MAGIC.fullmatch(line)
    if not found and not HELP.fullmatch(line):
        return False
    left_out.append((number, line))
    kept = "pass"
    if found:
        name, _, code = found["rest"].partition(" ")
        if found["mark"] == "%" and name in RUNS_PYTHON and code.strip():
            kept = (found["before"] or "").lstrip() + OPTIONS.sub("", " " + code, count=1)
        elif found["before"]:
            kept = found["before"].lstrip() + "None"
    lines[number - 1] = (found["indent"] if found else line[:len(line) - len(line.lstrip())]) + kept
    while line.endswith("\\") and number < len(lines):      # a command that goes on
        number += 1
        line, lines[number - 1] = lines[number - 1], ""
    return True
