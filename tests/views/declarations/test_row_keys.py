"""Row keys as people write them on the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from dynaview.projections.rows import Field, Layout, OpenSearchOptions, PostgresOptions, RedisOptions
from dynaview.views.declarations.row_keys import row_key


def made(options: Any, key: tuple[str, ...] = (), **types: str) -> Layout:
    return Layout("one", key, tuple(Field(name, type_) for name, type_ in types.items()), options)


READS = PostgresOptions("reads")


@pytest.mark.parametrize(
    ("kept", "written", "key"),
    [
        (made(OpenSearchOptions("i", {}, {})), "a,b", "a,b"),
        (made(OpenSearchOptions("i", {}, {})), '["a"]', '["a"]'),
        (made(RedisOptions("hash")), "c:1", "c:1"),
        (made(RedisOptions("string")), "c:1", "c:1"),
        (made(RedisOptions("set")), '["c:1", "m,2"]', ("c:1", "m,2")),
        (made(RedisOptions("sorted_set")), '["c:1", "m"]', ("c:1", "m")),
        (made(READS, ("a",), a="text"), "x,y", ("x,y",)),
        (made(READS, ("a",), a="text"), '["x"]', ("x",)),
        (made(READS, ("a",), a="bigint"), "42", (42,)),
        (made(READS, ("a", "b"), a="text", b="integer"), "o-1,2", ("o-1", 2)),
        (made(READS, ("a", "b"), b="decimal", a="text"), '["o,1", 1.50]', ("o,1", Decimal("1.50"))),
        (made(READS, ("a",), a="timestamp"), "2026-01-01T00:00:00Z", (datetime(2026, 1, 1, tzinfo=UTC),)),
    ],
)
def test_row_keys_as_people_write_them(kept: Layout, written: str, key: Any) -> None:
    read = row_key(kept, written)
    assert read == key
    assert [type(part) for part in read] == [type(part) for part in key]


@pytest.mark.parametrize(
    ("kept", "written", "problem"),
    [
        (made(OpenSearchOptions("i", {}, {})), "", "never empty"),
        (made(RedisOptions("set")), "c:1", "a key and its member: write it as a JSON array"),
        (made(RedisOptions("set")), '["c:1"]', "a key and its member"),
        (made(RedisOptions("set")), '["c:1", 5]', "a key and its member"),
        (made(READS, ("a", "b"), a="text", b="text"), "x", "is a, b, 1 values were given"),
        (made(READS, ("a", "b"), a="text", b="text"), "x,y,z", "3 values"),
        (made(READS, ("a",), a="integer"), "x", "a: "),
        (made(READS, ("a",), a="any"), "[null]", "never null"),
    ],
)
def test_row_keys_that_are_none(kept: Layout, written: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        row_key(kept, written)
