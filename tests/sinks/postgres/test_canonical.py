"""Canonical bytes of every field type, as the server makes them and as we do."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynaview.projections.rows import Field, Write
from dynaview.sinks.port import APPLIED
from tests.sinks.postgres.database import Database, fresh
from tests.sinks.postgres.test_values import FIELDS, ROWS, emptied

ALL_TYPES = fresh("canonical")

TEXT = 'é中😀 "quoted" \\ \b\f\n\r\t\x01\x1f\x7f / </script>'
EXAMPLES: list[tuple[Field, Any]] = [
    (Field("f", "text"), TEXT),
    (Field("f", "text"), ""),
    (Field("f", "text", column="varchar(20)"), "short"),
    (Field("f", "text", column="uuid"), "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"),
    (Field("f", "integer"), -7),
    (Field("f", "bigint"), 2**62),
    (Field("f", "decimal"), Decimal("12345678901234567890.12345678901234567")),
    (Field("f", "decimal", column="numeric(12,2)"), Decimal("12.5")),
    (Field("f", "decimal", column="numeric(12)"), Decimal(12)),
    (Field("f", "double"), 1.5),
    (Field("f", "double"), 3.0),
    (Field("f", "double"), 1e300),
    (Field("f", "double"), float("inf")),
    (Field("f", "boolean"), False),
    (Field("f", "timestamp"), datetime(2026, 11, 23, 9, 30, tzinfo=UTC)),
    (Field("f", "timestamp"), datetime(2026, 11, 23, 9, 30, 1, 120_000, tzinfo=UTC)),
    (Field("f", "timestamp", column="timestamp"), datetime(2026, 11, 23, 9, 30, tzinfo=UTC)),
    (Field("f", "date"), date(2026, 11, 23)),
    (Field("f", "binary"), b"\x00\xff"),
    (Field("f", "any"), TEXT),
    (Field("f", "any"), Decimal("1.5")),
    (Field("f", "any"), True),
    (Field("f", "json"), {"long": [Decimal(1), None, {}], "b": {"é": TEXT, "a": []}}),
    (Field("f", "json", column="json"), {"long": [Decimal(1), None], "b": {}}),
    (Field("f", "text[]"), [TEXT, None, ""]),
    (Field("f", "timestamp[]"), [datetime(2026, 11, 23, 9, 30, tzinfo=UTC), None]),
    (Field("f", "double[]"), [3.0, 1.5]),
    (Field("f", "binary[]"), [b"\x01"]),
    (Field("f", "text"), None),
]


@pytest.mark.parametrize(("field", "value"), EXAMPLES, ids=lambda one: None)
def test_what_stands_has_the_canonical_bytes_of_what_was_asked(database: Database, field: Field, value: Any) -> None:
    target = database.sink().open(database.layout((Field("id", "integer"), field)), 1)
    target.prepare()
    write = Write((1,), (1, value), 5)
    assert target.write([write]) == [APPLIED]
    (page,) = target.canonical_rows()
    assert page.canonical_rows == [target.canonical(write)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, min_size=2, max_size=8))
def test_only_equal_contents_have_one_canonical_bytes(database: Database, rows: list[tuple[Any, ...]]) -> None:
    target = emptied(database, database.layout((Field("id", "integer"), *FIELDS), name=ALL_TYPES))
    writes = [Write((number,), (number, *values), 5) for number, values in enumerate(rows)]
    stood = [write for write, outcome in zip(writes, target.write(writes), strict=True) if outcome is APPLIED]
    kept = {row.key: row.content for row in target.rows()}
    (page,) = target.canonical_rows()
    canonical_rows = dict(zip(page.keys, page.canonical_rows, strict=True))
    for one in stood:
        for key, content in kept.items():
            asked = Write(key, (*key, *tuple(one.values or ())[1:]), 5)
            if target.canonical(asked) == canonical_rows[key]:
                assert target.content(asked) == content
