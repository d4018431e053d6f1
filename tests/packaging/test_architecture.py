"""The page about the architecture says what the code does: its floors, and its states."""

from __future__ import annotations

import re

from dynaview.views.states import ViewState
from tests.packaging.test_floors import VIEWS
from tests.packaging.test_rooms import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()


def rows(title: str) -> list[str]:
    """The rows of the first table under a heading, without its head."""
    text = re.split(rf"^##+ {re.escape(title)}$", PAGE, flags=re.MULTILINE)[1]
    table = re.split(r"^#", text, maxsplit=1, flags=re.MULTILINE)[0]
    return [line for line in table.splitlines() if line.startswith("| ")][2:]


def test_it_shows_the_floors_of_views_from_the_top_down() -> None:
    shown = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in rows("The floors of views")]
    assert shown == [line.split() for line in VIEWS.strip().splitlines()]


def test_it_shows_every_state_with_who_sets_it_and_what_ends_it() -> None:
    expected = [f"| `{state}` | {state.set_by} | {state.ended_by} |" for state in ViewState]
    assert rows("Two phases, and the states of a view") == expected
