"""Items from a file into a table of DynamoDB Local, as ``dynaview local load`` does it."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dynaview.local.errors import LocalServerError
from dynaview.local.state import Run, Running, State
from dynaview.views.cli.load import LoadError, load

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Load = Callable[..., None]


@pytest.fixture
def table() -> str:
    return f"load-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def put(tmp_path: Path, dynamodb_endpoint: str) -> Load:
    """Loads lines into a table of the shared DynamoDB Local, as if it ran in `tmp_path`."""
    state = State(tmp_path)
    lock = state.acquire()
    assert lock is not None
    state.write(Run(os.getpid(), 0.0, (Running("dynamodb", "DynamoDB Local", dynamodb_endpoint, "log", os.getpid()),)))

    def put(table: str, *lines: str, key: tuple[str, ...] = ()) -> None:
        held = lock  # as long as this function lives, the servers "run"
        assert not held.closed
        (tmp_path / "items.jsonl").write_text("\n".join(lines))
        load(table, tmp_path / "items.jsonl", key, tmp_path)

    return put


def test_a_table_is_made_with_its_stream_and_filled(
    put: Load, table: str, dynamodb: DynamoDBClient, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = {"pk": {"S": "b"}, "sk": {"N": "2"}, "tags": {"SS": ["x", "y"]}, "raw": {"B": "AAE="}}
    put(table, '{"pk": "a", "sk": 1, "price": 12.50, "none": null}', json.dumps({"Item": typed}))
    assert capsys.readouterr().out == f"Put 2 items into the table {table}, which is new and has a stream.\n"
    described = dynamodb.describe_table(TableName=table)["Table"]
    assert [(each["AttributeName"], each["KeyType"]) for each in described["KeySchema"]] == [
        ("pk", "HASH"),
        ("sk", "RANGE"),
    ]
    assert {each["AttributeName"]: each["AttributeType"] for each in described["AttributeDefinitions"]} == {
        "pk": "S",
        "sk": "N",
    }
    assert described["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    items = sorted(dynamodb.scan(TableName=table)["Items"], key=lambda item: item["pk"]["S"])
    assert items[0] == {"pk": {"S": "a"}, "sk": {"N": "1"}, "price": {"N": "12.5"}, "none": {"NULL": True}}
    assert items[1] == {**typed, "raw": {"B": b"\x00\x01"}}
    put(table, '{"pk": "a", "sk": 1, "price": 3}')
    assert capsys.readouterr().out == f"Put 1 item into the table {table}.\n"
    assert dynamodb.get_item(TableName=table, Key={"pk": {"S": "a"}, "sk": {"N": "1"}})["Item"]["price"] == {"N": "3"}


def test_the_key_may_have_any_name(put: Load, table: str, dynamodb: DynamoDBClient) -> None:
    put(table, '{"id": "a"}', key=("id",))
    assert [each["AttributeName"] for each in dynamodb.describe_table(TableName=table)["Table"]["KeySchema"]] == ["id"]


@pytest.mark.parametrize(
    ("lines", "key", "said"),
    [
        ([""], (), "there is nothing in it"),
        (['{"pk": "a"}', "{nonsense}"], (), r"items.jsonl:2: not JSON"),
        (['{"id": "a"}'], (), r"items.jsonl:1: the item has no pk: name the table's key with --key"),
        (['{"pk": "a"}'], ("pk", "sk"), "the item has no text, number or binary sk"),
        (['{"pk": "a"}', '{"other": 1}'], (), r"items.jsonl:2: the table load-\w+ refuses the item"),
        (['{"pk": ""}'], (), "refuses the item"),
        (['{"pk": 1e999}'], (), "items.jsonl:1"),
    ],
)
def test_what_cannot_be_put_is_said_with_its_line(
    put: Load, table: str, lines: list[str], key: tuple[str, ...], said: str
) -> None:
    with pytest.raises(LoadError, match=said):
        put(table, *lines, key=key)


def test_a_table_that_cannot_be_made_is_named(put: Load) -> None:
    with pytest.raises(LoadError, match="the table no cannot be"):
        put("no", '{"pk": "a"}')


def test_without_a_server_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match="dynaview local up"):
        load("shop", tmp_path / "items.jsonl", (), tmp_path)
