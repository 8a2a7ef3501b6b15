"""What each room of the diagnosis knows of the others."""

import ast
from pathlib import Path

import pytest

DIAGNOSIS = Path(__file__).parents[2] / "diagnosis"


def imports_of(room):
    """(file, room) of every import of another file of the diagnosis."""
    for file in sorted((DIAGNOSIS / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else \
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.split(".")[0] == "diagnosis":
                    yield file.name, (name.split(".") + [""])[1]


@pytest.mark.parametrize("room, known", [("record", {"record"}), ("observe", {"observe", "record"})])
def test_a_room_imports_only_those_that_the_data_passed_through_before(room, known):
    found = list(imports_of(room))
    assert found and [(file, other) for file, other in found if other not in known] == []
