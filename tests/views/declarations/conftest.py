"""Views of declarations as tests write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dynaview.projections.declaration import Declaration, ViewDeclaration
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.codec import decode_runnable, encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.functions import functions_of
from dynaview.views.declarations.load import load
from tests.support.first_fill import set_filled
from tests.views.declarations.planning import ARN, VIEWS, Declare

SECRET = "hunter2"
ENVIRON = {
    "REDIS_URL": f"redis://user:{SECRET}@cache:6379/0",
    "OPENSEARCH_URL": f"https://user:{SECRET}@search:9200",
    "DATABASE_URL": f"postgresql://user:{SECRET}@reads:5432/shop",
}
FRAME: dict[str, Any] = {
    "sources": {"shop": {"table": "shop"}},
    "sinks": {
        "cache": {"redis": "${REDIS_URL}"},
        "search": {"opensearch": "${OPENSEARCH_URL}"},
        "reads": {"postgres": "${DATABASE_URL}"},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("declarations")


Loaded = Callable[..., dict[str, ViewDeclaration]]


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Loaded:
    """The views of a declaration, given as YAML text or as views by name; with more Python files beside it."""

    def views(text: str | dict[str, Any], python: str = "") -> dict[str, ViewDeclaration]:
        if isinstance(text, dict):
            text = yaml.safe_dump({**FRAME, "views": text}, sort_keys=False)
        (folder / "dynaview.yaml").write_text(text)
        (folder / "views.py").write_text(python)
        return dict(load([folder / "dynaview.yaml"], ENVIRON).views)

    return views


def again(view: ViewDeclaration) -> ViewDeclaration:
    found = decode_runnable(encode(view), functions_of([view]))
    assert found is not None
    return found


@pytest.fixture
def declare(tmp_path: Path) -> Declare:
    """A declaration of these views."""

    def declared(views: dict[str, Any], **more: Any) -> Declaration:
        whole = {
            "sources": {"shop": {"table": "shop"}},
            "sinks": {"cache": {"redis": "redis://cache"}, "reads": {"postgres": "postgresql://reads/shop"}},
            "views": views,
            **more,
        }
        (tmp_path / "dynaview.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
        return load([tmp_path / "dynaview.yaml"], {})

    return declared


@pytest.fixture
def started(tmp_path: Path, declare: Declare) -> ControlStore:
    """A control store that knows the views as they were first declared."""
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    for view in declare(VIEWS).views.values():
        mark = fingerprint(view, "shop")
        control.add_view(view.name, view.source, view.sink, mark, ARN, declaration=encode(view))
        set_filled(control, view.name)
    return control
