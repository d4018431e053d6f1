"""Declarations as text: a frame with a source and a sink of each kind, so that tests write only what they are about."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dynaview.projections.declaration import Declaration, DeclarationError
from dynaview.views.declarations.load import load

ENVIRON = {
    "REDIS_URL": "redis://user:hunter2@cache:6379/0",
    "OPENSEARCH_URL": "https://user:hunter2@search:9200",
    "DATABASE_URL": "postgresql://user:hunter2@reads:5432/shop",
}

FRAME = """\
sources:
  shop: {table: shop}
sinks:
  cache: {redis: "${REDIS_URL}"}
  search: {opensearch: "${OPENSEARCH_URL}"}
  reads: {postgres: "${DATABASE_URL}"}
"""
"""Six lines: what a test adds begins on line 7."""

Load = Callable[..., Declaration]
Problems = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    return tmp_path


@pytest.fixture
def load_text(folder: Path) -> Load:
    """Load a text as dynaview.yaml."""

    def loaded(text: str, environ: Mapping[str, str] = ENVIRON) -> Declaration:
        Path("dynaview.yaml").write_text(textwrap.dedent(text))
        return load([Path("dynaview.yaml")], environ)

    return loaded


@pytest.fixture
def problems(load_text: Load) -> Problems:
    """The problems of a text, one line each; empty where there are none."""

    def found(text: str, environ: Mapping[str, str] = ENVIRON) -> list[str]:
        try:
            load_text(text, environ)
        except DeclarationError as error:
            return [str(problem) for problem in error.problems]
        return []

    return found


@pytest.fixture
def view_problems(problems: Problems) -> Problems:
    """The problems of one view, given by its YAML; without the place up to ``views.v``, with the line in the view."""

    def found(text: str, name: str = "v") -> list[str]:
        body = textwrap.indent(textwrap.dedent(text).strip("\n"), "    ")
        lines = problems(f"{FRAME}views:\n  {name}:\n{body}\n")
        shown = []
        for line in lines:
            file, number, path, message = line.split(":", 3)
            assert file == "dynaview.yaml"
            shown.append(f"{int(number) - 8}:{path.removeprefix(f' views.{name}').lstrip('.')}:{message}")
        return shown

    return found
