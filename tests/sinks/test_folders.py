"""Every store's folder has the same files, and the page for those who add one names what the port has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dynaview.sinks.port import Sink, Target

ROOT = Path(__file__).parents[2]
FILES = {"client", "errors", "values", "guard", "generation", "canonical", "target", "sink"}


@pytest.mark.parametrize("store", ["redis", "opensearch", "postgres"])
def test_the_files_of_a_store_are_called_alike(store: str) -> None:
    assert {path.stem for path in (ROOT / "sinks" / store).glob("*.py")} >= FILES


def methods(port: type) -> list[str]:
    return [name for name, member in vars(port).items() if callable(member) and not name.startswith("_")]


def test_the_page_on_adding_a_sink_names_the_methods_of_the_port_in_their_order() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    step = page[page.index("1. Read `sinks/port.py`") : page.index("2. Find where the version")]
    named = [re.findall(r"`([a-z_]+)`", part) for part in re.findall(r"\(([^)]*)\)", step)]
    assert named == [methods(Sink), methods(Target)], "make the lists anew from sinks/port.py"
