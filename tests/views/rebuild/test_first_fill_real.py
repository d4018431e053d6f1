"""Five new views of one table on DynamoDB Local: one scan for all of them, within the capacity that it may take."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dynaview.sources.port import ScanFilter, ScanPage
from dynaview.sources.table import DynamoTable, open_table
from dynaview.views.daemon.daemon import Daemon
from dynaview.views.declarations.load import load
from dynaview.views.status import all_status
from dynaview.views.verify.compare import compare
from tests.support.until import until

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

ITEMS = 600
UNITS = 400

DECLARATION = """
control: "sqlite:///{folder}/control.db"
sources: {{shop: {{table: "{name}", endpoint: "{endpoint}"}}}}
sinks: {{cache: {{redis: "{redis}"}}, reads: {{postgres: "{postgres}"}}}}
views:
"""

REDIS = """  {name}_{n}:
    source: shop
    match: {{pk: "O#{{id}}"}}
    sink: cache
    type: string
    key: "{name}{n}:{{id}}"
    fields: {{pk: pk, n: n}}
"""

POSTGRES = """  {name}_{n}:
    source: shop
    match: {{pk: "O#{{id}}"}}
    sink: reads
    table: "{name}_{n}"
    key: [id]
    fields: {{id: {{from: id, type: text}}, n: {{from: n, type: integer}}}}
"""


@pytest.fixture
def table(dynamodb: DynamoDBClient) -> Iterator[str]:
    """Three pages of items in a table with provisioned capacity; half of them are orders."""
    name = f"fill{uuid.uuid4().hex[:10]}"
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        ProvisionedThroughput={"ReadCapacityUnits": UNITS, "WriteCapacityUnits": UNITS},
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    for start in range(0, ITEMS, 25):
        puts: list[Any] = [
            {
                "PutRequest": {
                    "Item": {
                        "pk": {"S": f"{'O' if number % 2 else 'C'}#{number}"},
                        "n": {"N": str(number)},
                        "other": {"S": "x" * 3500},
                    }
                }
            }
            for number in range(start, start + 25)
        ]
        dynamodb.batch_write_item(RequestItems={name: puts})
    yield name
    dynamodb.delete_table(TableName=name)


class Watched(DynamoTable):
    """Notes what is scanned."""

    scans: list[tuple[int, int, ScanFilter | None]]

    def scan(self, *arguments: Any, **more: Any) -> Iterator[ScanPage[Any]]:
        segment, segments, _after, shape, *only = arguments
        self.shape = shape
        self.scans.append((segment, segments, only[0] if only else None))
        return super().scan(*arguments, **more)


def test_one_scan_within_its_budget(
    table: str, dynamodb_endpoint: str, redis_url: str, postgres_url: str, tmp_path: Path
) -> None:
    text = DECLARATION.format(
        folder=tmp_path, name=table, endpoint=dynamodb_endpoint, redis=redis_url, postgres=postgres_url
    )
    text += "".join(REDIS.format(name=table, n=n) for n in range(3))
    text += "".join(POSTGRES.format(name=table, n=n) for n in range(3, 5))
    (tmp_path / "dynaview.yaml").write_text(text)
    declaration = load([tmp_path / "dynaview.yaml"], {})
    opened: list[Watched] = []

    def watched(source: Any) -> DynamoTable:
        found = open_table(source)
        found.__class__ = Watched
        assert isinstance(found, Watched)
        found.scans = []
        opened.append(found)
        return found

    daemon = Daemon(declaration, open_source=watched)
    daemon.start()
    try:
        until(
            lambda: len(found := all_status(daemon.control)) == 5 and all(each["filled"] for each in found),
            "the fill",
            60,
        )
        until(lambda: all(each.ended for each in daemon.control.rebuilds.all()), "its end to be recorded")
        rebuilds = daemon.control.rebuilds.all()
        shown: Mapping[str, Any] = {each["view"]: each for each in all_status(daemon.control)}
        for name, view in declaration.views.items():
            assert shown[name]["scan"] == {"read": ITEMS, "matched": ITEMS // 2}
            until(
                lambda view=view: compare(view, opened[0], daemon.sinks[view.sink].open(view.layout, 1)).equal,  # type: ignore[misc]  # a default is not inferred
                f"{name} to equal the table",
            )
        assert len({each.job for each in rebuilds}) == 1
        assert len(opened[0].scans) == 1 + 5  # one for all, and a comparison each
        assert opened[0].scans[0][2] is not None  # the server leaves out what no view asks for
        assert opened[0].shape.names == ("n", "pk")
        for each in rebuilds:
            assert (each.kind, each.phase) == ("fill", "done")
            assert each.units == pytest.approx(ITEMS * 3.5 / 4, rel=0.1)
            assert each.scan_began is not None
            assert each.scan_end is not None
            # Half of what is provisioned is there at once, the third page waits for the two before it.
            assert each.scan_end - each.scan_began > (each.units * 2 / 3 - UNITS / 2) / (UNITS / 2) * 0.8
    finally:
        daemon.stop()
        for view in declaration.views.values():
            sink = daemon.sinks[view.sink]
            sink.open(view.layout, 1).drop()
