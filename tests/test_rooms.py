"""Where things stand: the top level, which room may import which, and how long a file and a function get."""

import ast

import pytest
from conftest import ROOT

SCRIPTS = ("diagnose_bert", "BERT_model_aggressive", "BERT_main_aggressive")
MAY_IMPORT = {      # room -> the rooms whose modules its own may import
    "training": ("training", "diagnosis.look"),
    "training.texts": ("training.texts",),
    "diagnosis.record": ("diagnosis.record",),
    "diagnosis.observe": ("diagnosis.observe", "diagnosis.record"),
    "diagnosis.experiments": ("diagnosis.experiments", "diagnosis.record"),
    "diagnosis.faults": ("diagnosis.faults", "diagnosis.record", "diagnosis.verdict.finding", "diagnosis.verdict.course",
                         "diagnosis.verdict.measures", "diagnosis.verdict.scored", "diagnosis.cures.mends"),
    "diagnosis.cures": ("diagnosis.cures", "diagnosis.faults", "diagnosis.observe", "diagnosis.processes", "diagnosis.record",
                        "diagnosis.verdict"),
    "diagnosis.verdict": ("diagnosis.verdict", "diagnosis.faults", "diagnosis.record"),
    "diagnosis": ("diagnosis",),
}
LONGEST_FILE = 500      # lines
LONGEST_FUNCTION = 60   # lines, docstring and all


def modules():
    """{dotted name: its parsed source} of both wings."""
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
            for wing in ("training", "diagnosis") for path in (ROOT / wing).rglob("*.py")}


def imported(name, tree, known):
    """The project's own modules that a module imports, wherever in its source."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in known else node.module
                         for alias in node.names)
    return {other for other in found if other.split(".")[0] in ("training", "diagnosis", "data", *SCRIPTS)}


MODULES = modules()
IMPORTS = {name: imported(name, tree, MODULES) for name, tree in MODULES.items()}


def below(name, room):
    return name == room or name.startswith(room + ".")


def test_the_top_level_holds_what_the_map_says_and_nothing_else():
    allowed = {*(f"{script}.py" for script in SCRIPTS), "training", "diagnosis", "data", "tests", "requirements.txt",
               "README.md", "README.zh-CN.md", "LICENSE"}
    local = {"runs", "models", "__pycache__"}       # not in the repository
    assert {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - local <= allowed


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_one_way(name):
    room = max((room for room in MAY_IMPORT if below(name, room)), key=len)
    wrong = {other for other in IMPORTS[name] if not any(below(other, allowed) for allowed in MAY_IMPORT[room])}
    assert not wrong, f"{name} may import from {', '.join(MAY_IMPORT[room])}"


def test_no_module_imports_itself_by_way_of_others():
    def reach(name, way):
        for other in IMPORTS.get(name, ()):
            assert other not in way, f"a circle: {' -> '.join([*way[way.index(other):], other])}"
            if other not in clear:
                reach(other, [*way, other])
        clear.add(name)

    clear = set()
    for name in MODULES:
        if name not in clear:
            reach(name, [name])


def test_each_room_lists_its_files_in_its_docstring():
    for wing in ("training", "diagnosis"):
        for room in [ROOT / wing, *(path for path in (ROOT / wing).iterdir() if (path / "__init__.py").exists())]:
            listed = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
            files = {path.name for path in room.glob("*.py")} - {"__init__.py"}
            if room.name != "faults":       # one file a fault; its docstring says so
                assert {name for name in files if name not in listed} == set(), room


@pytest.mark.parametrize("path", sorted(path.relative_to(ROOT).as_posix() for path in (
    *ROOT.glob("*.py"), *(ROOT / "training").rglob("*.py"), *(ROOT / "diagnosis").rglob("*.py"))))
def test_files_and_functions_stay_short(path):
    source = (ROOT / path).read_text()
    assert len(source.splitlines()) <= LONGEST_FILE
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions
            if node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION}
    assert not long
