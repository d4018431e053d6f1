"""Control stores as the page may find them: views in every state, letters by the thousand, names full of markup."""

from __future__ import annotations

import dataclasses
import sqlite3
import time

from dynaview.views.control.records import DeadLetter, VerificationResult
from dynaview.views.states import ViewState
from tests.views.http.conftest import Served

MARKUP = "<img src=x onerror=alert(1)>\u202e\u0000\u001b[31m&amp;\"'</td>"
"""A key as somebody may send it: markup, control characters, a mark that turns the direction of what follows."""

HEAD = """
control: {control}
sources: {{shop: {{table: shop}}}}
sinks: {{cache: {{redis: "redis://127.0.0.1:1"}}}}
views:
"""


def declared(count: int) -> str:
    """The declaration of so many views, view000 and following."""
    return HEAD + "".join(
        f'  view{number:03}: {{{{source: shop, sink: cache, type: hash, key: "v{number:03}:{{{{pk}}}}", '
        "fields: {{pk: pk}}}}\n"
        for number in range(count)
    )


def letter(view: str, number: int, reason: str = "field total: not a decimal", key: str | None = None) -> DeadLetter:
    """A dead letter of a view."""
    key = f'["C#{number}"]' if key is None else key
    change = f'{{"keys": {{"pk": {{"S": "C#{number}"}}}}, "new": {{"pk": {{"S": "C#{number}"}}}}}}'
    return DeadLetter(view, key, key, 1000 + number, "shard-1", time.time(), "projection", reason, change.encode())


def fill_letters(served: Served, view: str, first: int, count: int) -> None:
    """Give a view so many dead letters at once, copies of one."""
    one = dataclasses.asdict(letter(view, first)) | {"created": time.time()}
    rows = [
        one
        | {"version": str(1000 + number), "item_key": f'["C#{number}"]', "row_key": f'["C#{number}"]'}
        | {"change": one["change"].replace(f"C#{first}".encode(), f"C#{number}".encode())}
        for number in range(first, first + count)
    ]
    names = ", ".join(one)
    with sqlite3.connect(served.folder / "control.db") as connection:
        marks = ", ".join(f":{name}" for name in one)
        connection.executemany(f"INSERT INTO dynaview_dead_letters ({names}) VALUES ({marks})", rows)  # noqa: S608 - own names


def follow(served: Served, *views: str) -> None:
    """Let views be well."""
    for view in views:
        served.control.states.set(view, ViewState.FOLLOWING)
    keep(served)


def keep(served: Served) -> None:
    """Let all views be kept for the next hour, as if a worker gave signs of life."""
    with sqlite3.connect(served.folder / "control.db") as connection:
        connection.execute("UPDATE dynaview_views SET seen = ?", [time.time() + 3600])


def verified(view: str, **found: int) -> VerificationResult:
    """A verification that has just ended."""
    return VerificationResult(view=view, begun=time.time() - 60, seconds=1.0, rows=100, **found)  # type: ignore[arg-type]
