"""Rooms stand on floors: a module imports from its own room or from one further down, and no module rings."""

from __future__ import annotations

import ast
from collections.abc import Set
from pathlib import Path

import pytest

from tests.packaging.test_rooms import ROOT

VIEWS = """
    entry
    cli
    demo
    http telemetry aws_lambda
    daemon
    rebuild trace doctor
    verify
    workers
    preview
    streaming
    scanning
    waiting replay
    status
    retry
    declarations
    dead_letters
    reasons
    policy kept_table
    control
    states threads budget cost meters spans
"""
"""The rooms of `views`, from the top floor down; rooms of one floor do not know each other."""

PROJECTIONS = """
    testing
    reading compiler
    MODEL
"""
"""Two folders above the model, which is every module that stands beside them; for users' tests a module above both."""


def floors(text: str) -> dict[str, int]:
    """Each room's floor, counted from the top."""
    return {room: number for number, line in enumerate(text.split("\n")) for room in line.split()}


def modules(package: str) -> dict[str, Path]:
    """The modules of a package by their dotted names, ``__init__`` left out: it is the package's face."""
    folder = ROOT / package
    return {
        ".".join(["dynaview", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__"): path
        for path in sorted(folder.rglob("*.py"))
        if "__pycache__" not in path.parts and path != folder / "__init__.py"
    }


def arrows(package: str) -> dict[str, set[str]]:
    """Which modules of a package each of its modules imports, wherever in it the import stands."""
    known = modules(package)
    found = dict[str, set[str]]()
    for name, path in known.items():
        parent = ".".join(["dynaview", *path.relative_to(ROOT).parts[:-1]])
        found[name] = _named(path.read_text(), parent, known.keys()) - {name}
    return found


def _named(source: str, parent: str, known: Set[str]) -> set[str]:
    """The known modules that Python text in a package imports. ``from x import y`` means ``x.y`` where that is one."""
    found = set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = parent.split(".")[: len(parent.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, node.module] if node.module else above)
            found |= {whole if (whole := f"{base}.{alias.name}") in known else base for alias in node.names}
    return found & known


def upwards(package: str, plan: dict[str, int], default: str = "") -> list[str]:
    """Imports that do not run down: to a room that is higher, or beside on the same floor."""
    wrong = list[str]()
    for name, targets in arrows(package).items():
        here = _room(name, plan, default)
        for target in sorted(targets):
            there = _room(target, plan, default)
            if here != there and plan[there] <= plan[here]:
                wrong.append(f"{name} imports {target}")
    return wrong


def _room(module: str, plan: dict[str, int], default: str) -> str:
    room = module.split(".")[2]
    if room in plan:
        return room
    assert default, f"{module} stands on no floor: add its room to the plan"
    return default


def rings(package: str) -> list[list[str]]:
    """Modules that import one another in a circle, each circle once."""
    graph = arrows(package)
    reach = {name: set(targets) for name, targets in graph.items()}
    for middle in graph:
        for name in graph:
            if middle in reach[name]:
                reach[name] |= reach[middle]
    seen = {tuple(sorted(other for other in graph if other in reach[name] and name in reach[other])) for name in graph}
    return sorted(list(ring) for ring in seen if len(ring) > 1)


def test_views_import_downwards() -> None:
    assert upwards("views", floors(VIEWS)) == []


def test_projections_import_downwards() -> None:
    assert upwards("projections", floors(PROJECTIONS), "MODEL") == []


@pytest.mark.parametrize("package", ["projections", "sinks", "sources", "local", "views"])
def test_no_modules_import_one_another_in_a_circle(package: str) -> None:
    assert rings(package) == []


def test_every_floor_has_a_room() -> None:
    rooms = {name.split(".")[2] for name in modules("views")}
    assert set(floors(VIEWS)) == rooms
