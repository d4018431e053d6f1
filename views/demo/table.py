"""Tables in DynamoDB Local: created with their stream, and written to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3
import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from dynaview.projections.attributes import Attr, attribute
from dynaview.views.demo.shop import Event, Item

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.literals import ScalarAttributeTypeType


class TableError(Exception):
    """The table does not do what it should."""


def create_table(client: DynamoDBClient, name: str, key: Mapping[str, ScalarAttributeTypeType]) -> None:
    """Create a table with its stream and wait until it is there. `key` has its one or two attributes with their types
    (S, N, B), the partition's first."""
    kinds = ("HASH", "RANGE")
    client.create_table(
        TableName=name,
        KeySchema=[
            {"AttributeName": each, "KeyType": "HASH" if kind == "HASH" else "RANGE"}
            for each, kind in zip(key, kinds, strict=False)
        ],
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": kind} for each, kind in key.items()],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})


class Table:
    """A new table with key ``pk`` and ``sk``, found through the environment like everything of AWS."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._client: DynamoDBClient = boto3.client("dynamodb")
        create_table(self._client, name, {"pk": "S", "sk": "S"})

    def write(self, event: Event) -> None:
        """Bring the table to what the event says. Raises `TableError`."""
        try:
            if event.new is None:
                self._client.delete_item(TableName=self.name, Key=_wire(event.key))
            else:
                self._client.put_item(TableName=self.name, Item=_wire(event.new))
        except (BotoCoreError, ClientError) as error:
            raise TableError(f"the table {self.name} cannot be written to: {error}") from error

    def close(self) -> None:
        """Give back connections."""
        self._client.close()


def wire(image: Mapping[str, Attr]) -> dict[str, Any]:
    """An item as boto3's client takes it."""
    return {name: msgspec.to_builtins(attr, builtin_types=(bytes,)) for name, attr in image.items()}


def _wire(item: Item) -> dict[str, Any]:
    return wire({name: attribute(plain) for name, plain in item.items()})
