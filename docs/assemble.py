"""Puts the documentation's site together: the pages as they are, and a reference made from the code.

``python docs/assemble.py FOLDER`` writes FOLDER/docs and FOLDER/mkdocs.yml; see `make docs`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from dynaview.projections.reading.schema import schema as json_schema
from dynaview.views.cli import cli
from dynaview.views.control.store import ControlStore
from dynaview.views.http.health import Limits
from dynaview.views.http.metrics import ViewCollector
from dynaview.views.http.openapi import document
from dynaview.views.http.snapshot import Snapshots
from dynaview.views.policy import POLICIES
from dynaview.views.states import ViewState

ROOT = Path(__file__).parents[1]

BESIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages that stand at the top of the project, and what the site calls them."""


def assemble(folder: Path) -> None:
    """Write the sources of the site into a folder, anew."""
    pages = folder / "docs"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", pages, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name, called in BESIDE.items():
        (pages / called).write_text((ROOT / name).read_text().replace("](docs/", "]("))
    for page in pages.rglob("*.md"):
        text = page.read_text()
        for name, called in BESIDE.items():
            text = text.replace(f"](../{name}", f"]({called}").replace(f"]({name}", f"]({called}")
        page.write_text(text)
    reference = pages / "reference"
    reference.mkdir()
    for name, lines in REFERENCE.items():
        (reference / f"{name}.md").write_text("\n".join(lines()) + "\n")
    shutil.copy(ROOT / "mkdocs.yml", folder / "mkdocs.yml")


def row(*cells: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table, with an empty line behind it."""
    yield row(*head)
    yield row(*("---" for _ in head))
    yield from (row(*cells) for cells in rows)
    yield ""


# Commands


def commands() -> Iterator[str]:
    """Every command with its options."""
    yield from ("# Commands", "", "As `dynaview COMMAND --help` prints them.", "")
    yield from _command(cli, "dynaview")


def _command(command: click.Command, path: str) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from _command(inner, f"{path} {name}")
        return
    yield from (f"## {path}", "", "```text", command.get_help(context).replace("\b\n", ""), "```", "")


# Declarations


def declaration() -> Iterator[str]:
    """Every key of a declaration, as the JSON Schema has it."""
    yield from (
        "# Keys of a declaration",
        "",
        "What `dynaview schema` knows; [declarations](../declarations.md) explains.",
        "",
    )
    schema = json_schema()
    for name, part in schema["properties"].items():
        each = part.get("additionalProperties")
        yield from (f"## `{name}`", "", part.get("description", ""), "")
        if isinstance(each, dict):
            yield from table(("key", "is", "says"), _keys(each, schema))


def _keys(part: Mapping[str, Any], schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, str]]:
    required = part.get("required", [])
    for name, each in part.get("properties", {}).items():
        shown = _resolved(each, schema)
        needed = ", required" if name in required else ""
        yield f"`{path}{name}`", _kind(shown) + needed, each.get("description", shown.get("description", ""))
        if shown.get("type") == "object" and "properties" in shown:
            yield from _keys(shown, schema, f"{path}{name}.")


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = schema
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def _kind(part: Mapping[str, Any]) -> str:
    if "enum" in part:
        return "one of " + ", ".join(f"`{each}`" for each in part["enum"])
    if "const" in part:
        return f"`{part['const']}`"
    for many in ("oneOf", "anyOf"):
        if many in part and "type" not in part:
            return " or ".join(dict.fromkeys(_kind(each) for each in part[many]))
    kind = part.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


# Metrics


def metrics() -> Iterator[str]:
    """Every metric family."""
    yield from (
        "# Metrics",
        "",
        "At `/metrics` of `dynaview run --http`; [the page of HTTP](../http.md#metrics) has the labels.",
        "",
    )
    with tempfile.TemporaryDirectory() as folder:
        control = ControlStore(f"sqlite:///{folder}/control.db")  # families have names whatever is in it
        families = [*ViewCollector(Snapshots(control, []), Limits()).collect()]
        control.close()
    names = (
        (f"`{each.name}{'_total' if each.type == 'counter' else ''}`", each.type, each.documentation)
        for each in families
    )
    yield from table(("metric", "type", "says"), names)


# HTTP


def http() -> Iterator[str]:
    """Every route."""
    described = document()
    yield from ("# HTTP", "", "As `/api/openapi.json` has it; [the page of HTTP](../http.md) explains.", "")
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield from (f"## `{method.upper()} {path}`", "", operation["summary"], "")
            if operation.get("security"):
                yield from ("Needs the bearer token.", "")
            asked = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            fields = [
                (f"`{name}`", _kind(each), each.get("description", ""))
                for name, each in asked.get("properties", {}).items()
            ]
            fields += [
                (f"`{each['name']}`", f"in {each['in']}", "")
                for each in operation["parameters"]
                if each["in"] == "query"
            ]
            if fields:
                yield from table(("field", "is", "says"), fields)
            yield from table(
                ("answer", "when"), ((code, each["description"]) for code, each in operation["responses"].items())
            )


# Errors and states


def errors() -> Iterator[str]:
    """What follows each kind of error, and every state of a view."""
    yield from ("# Errors and states", "", "## Errors", "")
    rows = (
        (
            each.what,
            each.action.value,
            f"`{each.state}`" if each.state else "",
            each.do.replace("](#", "](../operations.md#"),
        )
        for each in POLICIES.values()
    )
    yield from table(("error", "what follows", "state", "do"), rows)
    yield from ("## States", "")
    yield from table(("state", "set by", "ended by"), ((f"`{each}`", each.set_by, each.ended_by) for each in ViewState))


REFERENCE = {"commands": commands, "declaration": declaration, "metrics": metrics, "http": http, "errors": errors}

if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
