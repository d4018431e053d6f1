"""The published schema: it is the checker's, it explains itself, and it accepts what is right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner
from jsonschema import Draft7Validator

from dynaview.projections.reading.python import ViewKeys
from dynaview.projections.reading.schema import schema
from dynaview.views.cli import cli

ROOT = Path(__file__).parents[3]


def test_it_is_a_json_schema() -> None:
    Draft7Validator.check_schema(schema())


def test_the_command_prints_it() -> None:
    done = CliRunner().invoke(cli, ["schema"])
    assert done.exit_code == 0
    assert json.loads(done.output) == schema()


def test_it_accepts_the_example() -> None:
    text = (ROOT / "examples" / "shop.yaml").read_text()
    assert [error.message for error in Draft7Validator(schema()).iter_errors(yaml.safe_load(text))] == []


def keys(part: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key that a declaration may have, with its schema."""
    if isinstance(part, dict):
        for name, inner in part.get("properties", {}).items():
            yield f"{path}.{name}", inner
            yield from keys(inner, f"{path}.{name}")
        for below in ("additionalProperties", "items"):
            yield from keys(part.get(below), f"{path}.*")


def test_every_key_is_explained_for_editors() -> None:
    found = dict(keys(schema()))
    assert {".views.*.expire.from", ".sources.*.table", ".views.*.indexes.*.unique"} <= found.keys()
    assert [path for path, part in found.items() if not part.get("description")] == []


def test_nothing_else_is_allowed_where_keys_are_known() -> None:
    def open_ones(part: Any, path: str) -> Iterator[str]:
        if isinstance(part, dict):
            if "properties" in part and part.get("additionalProperties") is not False:
                yield path
            for name, inner in part.get("properties", {}).items():
                yield from open_ones(inner, f"{path}.{name}")
            for below in ("additionalProperties", "items"):
                yield from open_ones(part.get(below), f"{path}.*")

    assert list(open_ones(schema(), "")) == []


def test_the_decorator_knows_the_same_keys() -> None:
    view = schema()["properties"]["views"]["additionalProperties"]["properties"]
    assert ViewKeys.__annotations__.keys() == view.keys() - {"each", "python"} | {"name"}
