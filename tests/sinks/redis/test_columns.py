"""Columns of hashes, held against writes one by one on random rows: the same calls, the same outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.attributes import number
from dynaview.projections.columns import Columns, columns_of
from dynaview.projections.rows import EXPIRE, Field, Layout, RedisOptions
from dynaview.sinks.port import Outcome, exceptions
from dynaview.sinks.redis.client import Call
from dynaview.sinks.redis.slots import by_slot
from dynaview.sinks.redis.target import RedisTarget

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(max_size=4),
    "integer": st.integers(-9, 2**31),
    "decimal": st.one_of(
        st.integers(-(10**20), 10**20).map(Decimal),
        st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-99, max_value=99).map(
            lambda value: number(str(value))
        ),
        st.sampled_from([number(text) for text in ("0", "1E-7", "1E+3", "0.000001", "9.9E+125", "-1E-130")]),
    ),
    "double": st.floats(),
    "boolean": st.booleans(),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
    "date": st.dates(),
    "json": st.recursive(st.booleans() | st.text(max_size=2), lambda inner: st.lists(inner, max_size=2), max_leaves=3),
    "text[]": st.lists(st.text(max_size=2), max_size=2),
    "binary": st.text("ab", max_size=3).map(str.encode),
    "any": st.one_of(st.text(max_size=2), st.integers(), st.booleans(), st.just(b"a"), st.just([None, {}])),
}
FIELDS = tuple(Field(kind, kind) for kind in VALUES)
EXPIRIES = st.one_of(
    st.none(),
    st.sampled_from([Decimal(5), Decimal(10**9), Decimal("4102444800.5"), Decimal(10**30)]),
)
VERSIONS = st.integers(1, 10**41)
KEYS = st.one_of(
    st.text("ab}{:", min_size=1, max_size=3),
    st.integers(0, 300).map(str),
    st.sampled_from(["\ud800", "}\ud800"]),
)


class Calls:
    """Stands for the connection: keeps the calls, and answers as keys and versions tell."""

    def __init__(self, clustered: bool) -> None:
        self.sent: list[tuple[bytes, ...]] = []
        self._clustered = clustered

    def groups(self, keys: Sequence[str], most: int) -> Iterable[Sequence[int]]:
        if self._clustered:
            return by_slot(keys, most)
        return [range(start, min(start + most, len(keys))) for start in range(0, len(keys), most)]

    def run(self, _script: str, calls: Iterable[Call], durable: bool) -> Iterator[Any]:
        assert durable
        for _, call in calls:
            self.sent.append(call)
            cells = msgspec.msgpack.decode(call[1])
            letters = ""
            while cells:
                key, version, _, count = cells[:4]
                cells = cells[4 + count :]
                letters += "AAST"[int(version) % 4] if key != "a" else "A"
            yield [letters.encode()]


def target(fields: tuple[Field, ...], expires: bool, clustered: bool) -> tuple[RedisTarget, Calls]:
    calls = Calls(clustered)
    made: Any = calls
    laid = (*fields, Field(EXPIRE, "bigint")) if expires else fields
    layout = Layout("v", (), laid, RedisOptions(type="hash", expire_field=expires))
    return RedisTarget(made, made, layout, 1), calls


def check(columns: Columns, fields: tuple[Field, ...], expires: bool = False) -> None:
    for clustered in (False, True):
        check_one(columns, fields, expires, clustered)


def check_one(columns: Columns, fields: tuple[Field, ...], expires: bool, clustered: bool) -> None:
    slow, one_by_one = target(fields, expires, clustered)
    fast, together = target(fields, expires, clustered)
    expected: list[Outcome] = slow.write(list(columns))
    assert fast.write_columns(columns) == exceptions(expected)
    assert together.sent == one_by_one.sent


@st.composite
def batches(draw: st.DrawFn, kinds: list[str], expires: bool, most: int = 6) -> Columns:
    keys = draw(st.lists(KEYS, max_size=most, unique=True))
    cut = draw(st.integers(0, len(keys)))
    rows = [
        (
            key,
            *(draw(st.none() | VALUES[kind]) for kind in kinds),
            *([draw(EXPIRIES)] if expires else []),
        )
        for key in keys[:cut]
    ]
    versions = [draw(VERSIONS) for _ in keys]
    return columns_of(rows, versions[:cut], keys[cut:], versions[cut:])


@pytest.mark.parametrize("expires", [False, True], ids=["for ever", "expiring"])
@given(data=st.data())
def test_columns_are_sent_as_their_rows_would_be(expires: bool, data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from([*VALUES]), unique=True, max_size=4))
    check(data.draw(batches(kinds, expires)), tuple(Field(kind, kind) for kind in kinds), expires)


def test_many_rows_and_deletes_go_in_the_same_calls() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    rows = [(f"k{at}", f"text {at}", at, Decimal(at), date(2026, 1, 2), moment) for at in range(250)]
    gone = [f"g{at}" for at in range(170)]
    kinds = ("text", "integer", "decimal", "date", "timestamp")
    fields = tuple(Field(kind, kind) for kind in kinds)
    check(columns_of(rows, range(1, 251), gone, range(1, 171)), fields)
    check(columns_of([], [], gone, range(1, 171)), fields)


def test_a_row_too_large_or_that_cannot_be_written_costs_no_neighbour() -> None:
    rows = [(f"k{at}", "\ud800" if at == 7 else "x" * (40_000 if at > 50 else 1)) for at in range(120)]
    check(columns_of(rows, range(1, 121)), (Field("text", "text"),))
