"""Input at its limits, and beyond them: each is either kept exactly or refused in a clear line."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from dynaview.views.cli import cli
from dynaview.views.control.errors import ControlError
from dynaview.views.control.store import ControlStore
from tests.support.follower_harness import FollowerHarness
from tests.support.real_servers import STORES, RealServers, real_servers
from tests.support.scripted import ScriptedTable

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def real(tmp_path: Path, urls: dict[str, str], dynamodb: DynamoDBClient) -> Iterator[RealServers]:
    with real_servers(tmp_path, urls, dynamodb) as made:
        yield made


def test_items_of_400_kb_reach_every_store(real: RealServers) -> None:
    """DynamoDB's largest items: three are more than one page of the stream (1 MB, both images)."""
    for number in range(3):
        real.put(number, 1, "x" * (400 * 1024 - 200))
    real.wait_counted()
    for number in range(3):
        real.put(number, 1, "y" * (400 * 1024 - 200))
    real.check()
    for store in STORES:
        assert real.target(store).count() == 3
        assert real.counts(store).dead_lettered == 0


def test_sequence_numbers_of_40_digits_are_followed_exactly(tmp_path: Path) -> None:
    """Each is one more than the last in its last digits, which a float or a 64-bit integer would lose."""
    harness = FollowerHarness(tmp_path, ScriptedTable(first_sequence=10**40 - 10_000, clock=lambda: 1_700_000_000.0))
    harness.start()
    for number in range(30):
        harness.table.put({"pk": "a", "sk": "s", "value": number})
    harness.wait_counted()
    harness.stop()
    last = harness.table.put({"pk": "a", "sk": "s", "value": "last"})
    harness.start()
    harness.wait_counted()
    harness.wait_equal()
    assert last is not None
    assert len(last) == 40
    assert harness.control.checkpoints("one")["shard-0"].sequence == int(last)
    assert [stored.version for stored in harness.targets["one"].rows()] == [int(last)]
    harness.stop()


def test_a_control_store_of_a_newer_dynaview_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "control.db"
    ControlStore(f"sqlite:///{file}").close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE dynaview_control SET schema_version = 9999")
        connection.execute("DROP TABLE dynaview_checkpoints")  # as another version might have it
    connection.close()
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(ControlError, match=r"newer dynaview .*9999.*install that version"):
        ControlStore(f"sqlite:///{file}")
    declaration = tmp_path / "dynaview.yaml"
    declaration.write_text(
        f"control: sqlite:///{file}\nsources: {{shop: {{table: shop}}}}\n"
        "sinks: {cache: {redis: 'redis://localhost:1'}}\n"
        "views: {one: {source: shop, sink: cache, key: '{pk}', fields: {pk: pk}}}\n"
    )
    for words in (["run"], ["status"], ["dead-letters", "list"]):
        found = CliRunner().invoke(cli, [*words, "-f", str(declaration)])
        assert found.exit_code == 1
        assert "newer dynaview" in found.output
        assert "Traceback" not in found.output
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
