"""Tracing an item from DynamoDB Local into the three stores, while a daemon follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from dynaview.projections.rows import Write
from dynaview.sinks.port import APPLIED, ConditionalWrite
from dynaview.views.trace.records import ViewTrace
from dynaview.views.trace.service import trace
from tests.support.real_servers import STORES, RealServers, real_servers

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def real(
    tmp_path_factory: pytest.TempPathFactory, urls: dict[str, str], dynamodb: DynamoDBClient
) -> Iterator[RealServers]:
    with real_servers(tmp_path_factory.mktemp("servers"), urls, dynamodb) as made:
        yield made


def traced(real: RealServers, number: int, deep: bool = False) -> dict[str, ViewTrace]:
    views = [real.view(store) for store in STORES]
    found = trace(real.declaration, real.control, f'{{"pk": "item{number}"}}', views, timeout=60, deep=deep)
    return dict(zip(STORES, found.views, strict=True))


def test_what_stands_in_every_store(real: RealServers) -> None:
    real.put(0, 3, "one")
    real.wait_counted()
    real.delete(2)
    real.wait_counted()
    views = traced(real, 1)
    assert {store: (each.verdict, each.do) for store, each in views.items()} == dict.fromkeys(STORES, ("right", ""))
    for each in views.values():
        ((standing,),) = [row.standings for row in each.rows]
        assert (standing.stands, standing.role) == ("row", "live")
        assert standing.version is not None
        assert standing.version > 0
    for each in traced(real, 2).values():
        assert (each.verdict, each.result) == ("right", "absent")
        assert [standing.stands for row in each.rows for standing in row.standings] == ["tombstone"]
    for each in traced(real, 9, deep=True).values():
        assert (each.verdict, each.rows) == ("right", [])
    for store in STORES:
        target = real.target(store)
        (row,) = traced(real, 1)[store].rows
        (seen,) = target.read([row.key])
        wrong = Write(row.key, ("item1", "wrong"), 0)
        assert target.write_if_unchanged([ConditionalWrite(wrong, seen)]) == [APPLIED]
    for each in traced(real, 1).values():
        assert each.verdict == "wrong", each
        assert [standing.verdict for row in each.rows for standing in row.standings] == ["different"]
        assert each.wrong[0][1].fields == ("value",)
