"""Content that Postgres cannot hold: rejected for that write; the reason names the column and shows no value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from dynaview.projections.rows import Field, Index, Write
from dynaview.sinks.port import APPLIED, STALE, Rejected, RejectedKind
from dynaview.sinks.postgres.target import PostgresTarget
from tests.sinks.postgres.database import Database, fresh


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements sent meanwhile that begin with INSERT."""
    sent: list[str] = []
    execute = psycopg.Connection.execute

    def counting(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(query, bytes):
            sent.append(query.decode())
        return execute(self, query, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Connection, "execute", counting)
        yield sent


def put(number: int, *values: Any, version: int = 1) -> Write:
    key = f"{number:05}"
    return Write((key,), (key, *values), version)


@pytest.mark.parametrize(
    ("type", "column", "good", "bad"),
    [
        ("text", None, "a", "b\0c"),
        ("text", None, "a", "secret\ud800"),
        ("text", "varchar(5)", "abcde", "secret"),
        ("text", "varchar(5)", "abcde", "abcde "),
        ("text", "char(5)", "abcd", "ab "),
        ("text[]", "varchar(5)[]", ["abcde"], ["abcde", "secret"]),
        ("decimal", "numeric(6,2)", Decimal("1234.50"), Decimal("77.123")),
        ("decimal", "numeric(6,2)", Decimal("1234.50"), Decimal("77777")),
        ("decimal[]", "numeric(6,2)[]", [Decimal("1234.50")], [Decimal("77.123")]),
        ("integer", None, 5, 7777777777),
        ("integer", "smallint", 5, 77777),
        ("decimal", "integer", Decimal("1E+2"), Decimal("77.5")),
        ("integer", None, 5, "secret"),
        ("json", None, {"a": [Decimal("1.50")]}, {"secret": "\0"}),
        ("json", None, {"a": 1}, {"secret": "\udfff"}),
        ("text", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "secret"),
        ("timestamp", None, None, "secret"),
        ("binary", None, b"\0\xff", "secret"),
    ],
)
def test_one_bad_value_among_many(
    database: Database, monkeypatch: pytest.MonkeyPatch, type: str, column: str | None, good: Any, bad: Any
) -> None:
    target = database.open(database.layout([Field("id", "text"), Field("field", type, column)]))
    batch = [put(number, good) for number in range(200)]
    batch[137] = put(137, bad)
    with counted(monkeypatch) as sent:
        outcomes = target.write(batch)
    rejected = outcomes.pop(137)
    assert outcomes == [APPLIED] * 199
    assert isinstance(rejected, Rejected)
    assert rejected.kind is RejectedKind.CONTENT
    assert "field" in rejected.reason
    assert not re.search(r"secret|77|ud800|udfff", rejected.reason)
    assert len(sent) <= 2
    assert target.read([("00137",), ("00136",)])[0] is None
    assert target.count() == 199


def bad_in_the_store(database: Database) -> tuple[PostgresTarget, Any, Any]:
    """A view with a column whose bad values only Postgres itself knows."""
    enum = fresh("mood")
    database.run("CREATE TYPE {} AS ENUM ('calm', 'busy')", enum)
    fields = [Field("id", "text"), Field("mood", "text", f"public.{enum}")]
    return database.open(database.layout(fields)), "busy", "secret"


def test_what_only_postgres_knows_is_found_by_halving(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    target, good, bad = bad_in_the_store(database)
    batch = [put(number, good) for number in range(1000)]
    batch[613] = put(613, bad)
    with counted(monkeypatch) as sent:
        outcomes = target.write(batch)
    rejected = outcomes.pop(613)
    assert outcomes == [APPLIED] * 999
    assert isinstance(rejected, Rejected)
    assert "22P02" in rejected.reason
    assert "secret" not in rejected.reason
    assert len(sent) <= 22
    assert target.count() == 999


@pytest.mark.parametrize("characters", [1500, 3000])
def test_a_key_too_long_for_its_index(database: Database, characters: int) -> None:
    target = database.open(database.layout(indexes=[Index(("city",))]))
    # Not compressible, else it would fit.
    long = "".join(chr(0x4E00 + number * 7919 % 20000) for number in range(characters))
    outcomes = target.write(
        [put(1, "a", None), Write((long,), (long, None, None), 1), put(2, long, None), put(3, "b", None)]
    )
    assert [type(outcome) for outcome in outcomes] == [type(APPLIED), Rejected, Rejected, type(APPLIED)]
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Rejected)]
    said = "a value that is too long for an index or a row (SQLSTATE 54000)"
    # Beyond 8 kB Postgres does not say which index.
    assert reasons == ([f"column id: {said}", f"column city: {said}"] if characters == 1500 else [said, said])


def test_a_key_that_postgres_cannot_hold_is_not_there(database: Database) -> None:
    target = database.open()
    target.write([put(1, "a", None)])
    assert target.read([("x\0",), ("\ud800",)]) == [None, None]
    found = target.read([("x\0",), ("00001",), ("\ud800",)])
    assert [row and row.key for row in found] == [None, ("00001",), None]


def test_a_whole_batch_of_bad_rows(database: Database) -> None:
    target, _, bad = bad_in_the_store(database)
    outcomes = target.write([put(number, bad) for number in range(20)])
    assert [type(outcome) for outcome in outcomes] == [Rejected] * 20


def test_keys_and_rows_of_the_wrong_size(database: Database) -> None:
    target = database.open()
    batch = [
        put(1, "a", None),
        Write(("a", "b"), ("a", "b", None), 1),
        Write(("c",), ("c",), 1),
        Write((None,), None, 1),
    ]
    outcomes = target.write(batch)
    assert outcomes[0] is APPLIED
    assert [type(outcome) for outcome in outcomes[1:]] == [Rejected] * 3


def test_a_row_key_twice_in_a_batch_is_the_callers_mistake(database: Database) -> None:
    target = database.open()
    with pytest.raises(ValueError, match="twice"):
        target.write([put(1, "a", None), put(1, "b", None, version=2)])
    assert target.count() == 0


def test_rejections_of_a_mixed_batch_keep_their_places(database: Database) -> None:
    target = database.open(database.layout(indexes=[Index(("city",), unique=True)]))
    target.write([Write(("00001",), ("00001", "old", None), 5, "item1"), put(7, "taken", None)])
    batch = [
        put(9, "x", Decimal(1)),
        put(8, "\0", None),
        Write(("00001",), ("00001", "new", None), 6, "item2"),
        Write(("00007",), None, 1),
        put(6, "taken", None),
        Write(("00005",), None, 1, "item3"),
        put(4, "y", None),
    ]
    outcomes = target.write(batch)
    kinds = [outcome.kind if isinstance(outcome, Rejected) else outcome for outcome in outcomes]
    content, owner, unique = RejectedKind.CONTENT, RejectedKind.OWNER, RejectedKind.UNIQUE
    assert kinds == [APPLIED, content, owner, STALE, unique, APPLIED, APPLIED]
