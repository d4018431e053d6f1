"""The demo's table in DynamoDB Local: created with its stream, and written to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from dynaview.projections.attributes import attribute
from dynaview.views.demo.shop import Event, Item

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


class TableError(Exception):
    """The demo's table does not do what it should."""


class Table:
    """A new table with key ``pk`` and ``sk``, found through the environment like everything of AWS."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._client: DynamoDBClient = boto3.client("dynamodb")
        self._client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self._client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})

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


def _wire(item: Item) -> dict[str, Any]:
    return {name: msgspec.to_builtins(attribute(plain), builtin_types=(bytes,)) for name, plain in item.items()}
