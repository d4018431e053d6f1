"""Inside projections: the model at the bottom, reading and compiling above it and apart from each other."""

from __future__ import annotations

from pathlib import Path

from tests.packaging.test_rooms import ROOT, imports

PACKAGE = "dynaview.projections"
DOORS = {PACKAGE, f"{PACKAGE}.testing"}
"""What users import: they stand above all."""


def modules() -> dict[str, set[str]]:
    """Every module of projections with the modules of projections that it imports, wherever in it the import stands."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "projections").rglob("*.py")):
        parts = Path(path.relative_to(ROOT)).with_suffix("").parts
        name = ".".join(["dynaview", *(parts[:-1] if parts[-1] == "__init__" else parts)])
        package = name if parts[-1] == "__init__" else name.rpartition(".")[0]
        found[name] = {each for each in imports(path.read_text(), package) if each.startswith(PACKAGE)}
    return found


def room(name: str) -> str:
    """``reading``, ``compiler``, or ``model``."""
    parts = name.split(".")
    return parts[2] if len(parts) > 2 and parts[2] in ("reading", "compiler") else "model"


def test_reading_and_compiling_import_the_model_and_not_each_other() -> None:
    allowed = {"model": {"model"}, "reading": {"model", "reading"}, "compiler": {"model", "compiler"}}
    wrong = {
        (name, other)
        for name, imported in modules().items()
        for other in imported
        if name not in DOORS and (room(other) not in allowed[room(name)] or other in DOORS)
    }
    assert wrong == set()


def test_no_module_imports_itself_by_way_of_others() -> None:
    left = {name: imported for name, imported in modules().items() if name not in DOORS}
    while free := {name for name, imported in left.items() if not imported & left.keys()}:
        left = {name: imported for name, imported in left.items() if name not in free}
    assert left == {}
