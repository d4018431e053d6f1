"""The register of a store's rows."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from dynaview.projections.rows import RowKey
from dynaview.sinks.canonical import listed, plain
from dynaview.sinks.port import Stored
from dynaview.views.verify.listed_rows import ListedRows


def stored(key: RowKey, content: Any = "c", version: int = 1, owner: str = "", generation: int = 1) -> Stored:
    return Stored(key, version, owner, generation, content)


def listed_rows(*rows: Stored) -> ListedRows:
    made = ListedRows()
    for page in listed(iter(rows)):
        made.add(page)
    made.close()
    return made


def meets(made: ListedRows, key: RowKey, owner: str, content: Any) -> bool:
    return made.meet(key, plain(owner, content))


ALIKE: list[Any] = [
    -1,
    -2,
    0,
    2**61 - 1,
    -1.0,
    -2.0,
    True,
    "1",
    1.5,
    Decimal("2.5"),
    datetime(2026, 1, 1, tzinfo=UTC),
    b"b",
]
"""Among them are different values of which Python makes one hash, with 1 and True, and -1 and -1.0, as one each."""


@pytest.mark.parametrize("key", [-1, -2, 0, 2**61 - 1, True, 1.5, Decimal("2.5"), "1", b"b"])
def test_keys_that_python_hashes_alike_are_different_rows(key: Any) -> None:
    others = [other for other in ALIKE if other != key]
    made = listed_rows(*(stored((other,)) for other in others), stored((key,)))
    for other in others:
        made.want((other,))
    assert made.is_orphan(stored((key,)))
    assert made.orphans == 1


def test_equal_keys_are_one_row_however_they_are_written() -> None:
    made = listed_rows(stored((Decimal("1.50"), "a")), stored((2, "b")), stored((3.0, "c")))
    assert meets(made, (Decimal("1.5"), "a"), "", "c")
    assert meets(made, (Decimal(2), "b"), "", "c")
    assert meets(made, (3, "c"), "", "c")
    assert made.orphans == 0


def test_a_row_is_met_with_its_owner_and_content_only() -> None:
    made = listed_rows(stored("a", {"x": 1, "y": b"b"}, owner="o"))
    assert not meets(made, "a", "p", {"x": 1, "y": b"b"})
    assert not meets(made, "a", "o", {"x": 2, "y": b"b"})
    assert not meets(made, "b", "o", {"x": 1, "y": b"b"})
    assert made.orphans == 1
    assert meets(made, "a", "o", {"y": b"b", "x": 1})
    assert made.orphans == 0


@pytest.mark.parametrize("content", [b"x", 1.5, True, {"a": float("inf")}, {"a\udc80": b"b"}, {"a": [Decimal(1)]}])
def test_every_content_has_a_hash(content: Any) -> None:
    made = listed_rows(stored("a", content))
    assert meets(made, "a", "", content)


def test_an_orphan_is_one_in_the_state_of_the_listing() -> None:
    row = stored("a", version=10**40 + 5, owner="o", generation=2)
    made = listed_rows(row, stored("b"))
    assert made.is_orphan(row)
    assert not made.is_orphan(stored("a", version=10**40 + 6, owner="o", generation=2))
    assert not made.is_orphan(stored("a", version=10**40 + 5, owner="p", generation=2))
    assert not made.is_orphan(stored("a", version=10**40 + 5, owner="o", generation=3))
    assert not made.is_orphan(stored("c"))
    made.want("a")
    assert not made.is_orphan(row)
    assert made.is_wanted("a")
    assert not made.is_wanted("b")


def test_a_row_that_was_listed_twice_is_one() -> None:
    """Redis may list a row twice, and it may have changed in between."""
    made = listed_rows(stored("a", "old", 1), stored("a", "new", 2), stored("a", "new", 2))
    assert made.is_orphan(stored("a", "new", 2))
    assert meets(made, "a", "", "new")
    assert not made.is_orphan(stored("a", "old", 1))


def test_a_row_takes_few_bytes() -> None:
    count = 100_000
    made = ListedRows()
    tracemalloc.start()
    try:
        rows = (stored(f"order:{number:020}", {"total": number}, 10**30 + number) for number in range(count))
        for page in listed(rows):
            made.add(page)
        made.close()
        size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / count < 40  # a fifth of what a dictionary takes; threads of other tests may allocate too
    assert peak / count < 60


def test_what_json_does_not_have_is_not_taken_for_null() -> None:
    """msgspec writes infinity as null."""
    made = listed_rows(stored("a", {"x": [float("inf")]}))
    assert not meets(made, "a", "", {"x": [None]})
    assert meets(made, "a", "", {"x": [float("inf")]})
