"""docs/declarations.md: its examples are right, and it has every key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dynaview.projections.reading.schema import INDEX_METHODS, LATER_REDIS_TYPES, REDIS_TYPES, schema
from dynaview.projections.rows import SCALARS
from dynaview.views.declarations.load import load

PAGE = (Path(__file__).parents[3] / "docs" / "declarations.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
YAML = [text for language, text in BLOCKS if language == "yaml"]
PYTHON = [text for language, text in BLOCKS if language == "python"]

ENVIRON = {
    "REDIS_URL": "redis://cache",
    "OPENSEARCH_URL": "https://search",
    "DATABASE_URL": "postgresql://reads/shop",
    "ORDERS_EXTERNAL_ID": "only-we-know",
}
FRAME: dict[str, Any] = {
    "sources": {"shop": {"table": "shop"}},
    "sinks": {
        "cache": {"redis": "${REDIS_URL}"},
        "search": {"opensearch": "${OPENSEARCH_URL}"},
        "reads": {"postgres": "${DATABASE_URL}"},
    },
    "views": {"v": {"source": "shop", "sink": "cache", "key": "v:{v}", "fields": {"v": "v"}}},
}


@pytest.mark.parametrize("text", YAML)
def test_examples_are_right(text: str, folder: Path) -> None:
    Path("views.py").write_text(PYTHON[0] + "\n\ndef tags(item):\n    return []\n")
    written = yaml.safe_load(text)
    missing = {key: part for key, part in FRAME.items() if key not in written}
    Path("dynaview.yaml").write_text(text + "\n" + yaml.safe_dump(missing))
    views = load([Path("dynaview.yaml")], ENVIRON).views
    assert set(written.get("views", {})) <= views.keys()
    assert ("customer_card" in views) == ("python" in written or "customer_card" in written.get("views", {}))


def test_the_page_has_examples() -> None:
    assert (len(YAML), len(PYTHON)) >= (8, 1)


def keys(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for name, inner in part.get("properties", {}).items():
            yield name
            yield from keys(inner)
        for below in ("additionalProperties", "items"):
            yield from keys(part.get(below))


def test_every_key_and_word_is_on_the_page() -> None:
    code = " ".join(re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)))
    words = set(re.findall(r"\w+", code))
    wanted = {
        *keys(schema()),
        *SCALARS,
        *INDEX_METHODS,
        *REDIS_TYPES,
        *LATER_REDIS_TYPES,
        "_item",
        "_element",
        "_index",
        "_key",
    }
    assert wanted - words == set()


def test_the_messages_of_the_page_are_the_real_ones(problems: Any) -> None:
    found = "\n".join(
        problems("views:\n  order_search:\n    feilds: {}\n  order_lines:\n    where: status ==\n"),
    )
    messages = [line.split(": ", 1)[1] for line in PAGE.splitlines() if line.startswith("dynaview.yaml:")]
    assert len(messages) == 2
    assert [message for message in messages if message not in found] == []
