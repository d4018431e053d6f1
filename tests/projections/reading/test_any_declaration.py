"""Whatever a declaration holds, it is loaded or refused with problems that name their places and show no secrets."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaview.projections.declaration import DeclarationError
from dynaview.views.declarations.load import load

ROOT = Path(__file__).parents[3]
GOOD: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "shop.yaml").read_text())
SECRET = "hunter2"
ENVIRON = {
    "REDIS_URL": f"redis://user:{SECRET}@cache:6379/0",
    "OPENSEARCH_URL": f"https://user:{SECRET}@search",
    "DATABASE_URL": f"postgresql://user:{SECRET}@reads/shop",
}

WORDS = st.sampled_from(
    [
        "",
        "shop",
        "cache",
        "search",
        "reads",
        "{order_id}",
        "{a}{b}",
        "a..b",
        "lines[].sku",
        "_element",
        "set",
        "sorted_set",
        "geo",
        "text",
        "json",
        "numeric(1,2)",
        "order_id",
        "${REDIS_URL}",
        "${MISSING}",
        "_v",
        "x" * 300,
        "24h",
        "5%",
        "a\nb",
        "\u2028",
    ]
)
ADDRESSES = st.sampled_from(
    [f"redis://:{SECRET}", f"redis://{SECRET}/@cache", f"http://user:{SECRET}@search", f"user:{SECRET}@reads"]
)
"""Only under sinks and control, where they belong."""
KEYS = st.sampled_from(
    [
        "source",
        "sink",
        "match",
        "where",
        "each",
        "key",
        "fields",
        "type",
        "member",
        "score",
        "expire",
        "index",
        "table",
        "indexes",
        "mappings",
        "settings",
        "schema",
        "on_gap",
        "on_change",
        "keep",
        "shrink",
        "verify",
        "every",
        "sample",
        "repair",
        "python",
        "from",
        "unit",
        "default",
        "required",
        "column",
        "mapping",
        "redis",
        "postgres",
        "views",
        "sources",
        "sinks",
        "control",
        "properties",
        "columns",
        "unique",
        "nothing",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | WORDS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | WORDS, inner, max_size=3), max_leaves=6
)


def places(part: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    steps = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for step, inner in steps:
        found += places(inner, (*path, step))
    return found


PLACES = places(GOOD)[1:]


@st.composite
def declarations(draw: st.DrawFn) -> Any:
    """The example with a few of its parts replaced, removed or added to."""
    data = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(PLACES))
        part: Any = data
        for step in above:
            part = part.get(step) if isinstance(part, dict) else None
        if not isinstance(part, dict) or last not in part:
            continue
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                part[last] = draw(VALUES | ADDRESSES if above[:1] == ["sinks"] or last == "control" else VALUES)
            case "remove":
                del part[last]
            case "add":
                part[draw(KEYS | WORDS | ADDRESSES if above[:1] == ["sinks"] else KEYS | WORDS)] = draw(VALUES)
    return data


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("declarations") / "f.yaml"


@settings(max_examples=120)
@given(data=declarations())
def test_any_declaration_is_loaded_or_refused(file: Path, data: Any) -> None:
    text = yaml.safe_dump(data, sort_keys=False)
    file.write_text(text)
    try:
        declaration = load([file], ENVIRON)
    except DeclarationError as error:
        problems = error.problems
    else:
        assert list(declaration.views) == list(data["views"])
        assert SECRET not in repr(declaration)
        return
    lines = text.count("\n") + 1
    assert problems
    for problem in problems:
        shown = str(problem)
        assert SECRET not in shown
        assert "\n" not in shown
        assert shown.startswith(f"{file}:")
        assert 1 <= problem.at.line <= lines
        assert problem.message[-1] not in ": "
