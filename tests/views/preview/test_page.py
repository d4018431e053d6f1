"""docs/preview.md says what is so: its Python runs, its JSON has the keys that are printed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "preview.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_tests_on_the_page_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    names: dict[str, Any] = {}
    (block,) = blocks("python")
    exec(block, names)
    found = [function for name, function in names.items() if name.startswith("test_")]
    assert len(found) == 2
    for function in found:
        function()
    sys.modules.pop("shop_views", None)


def test_the_json_on_the_page_is_what_is_printed(run: Callable[..., Result]) -> None:
    shown = json.loads(blocks("json")[0])
    item = json.dumps(shown["items"][0]["item"])
    made = json.loads(run("preview", "orders", "--items", "-", "--json", input=item).stdout)
    made["items"][0]["origin"] = shown["items"][0]["origin"]
    assert made == shown


def test_the_items_on_the_page_look_as_they_are_shown(run: Callable[..., Result], shop: Path) -> None:
    order = {"pk": "CUSTOMER#c1", "sk": "ORDER#o1", "status": "PAID", "total": 12.5}
    draft = {"pk": "CUSTOMER#c1", "sk": "ORDER#o2", "status": "DRAFT"}
    (shop / "orders.jsonl").write_text(f"{json.dumps(order)}\n{json.dumps(draft)}\n")
    assert run("preview", "orders", "--items", "orders.jsonl").stdout == blocks("text")[0]
