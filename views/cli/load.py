"""``dynaview local load``: items of a file into a table of DynamoDB Local."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from dynaview.local.errors import LocalServerError
from dynaview.local.servers import CREDENTIALS, REGION
from dynaview.local.state import State
from dynaview.projections.attributes import Attr
from dynaview.views.demo.table import create_table, wire
from dynaview.views.preview.items import Item, ItemsError, from_file

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.literals import ScalarAttributeTypeType


class LoadError(LocalServerError):
    """Items could not be put into the table; says which and why."""


def load(table: str, file: Path, key: tuple[str, ...], directory: Path) -> None:
    """Put the items of the file (``-``: standard input) into the table, which is made first where it is missing.

    Raises `LocalServerError`, `LoadError` among them; what was put before an error stays.
    """
    run = State(directory.absolute()).running()
    if run is None or "dynamodb" not in run.urls:
        raise LocalServerError(f"no DynamoDB Local runs in {directory}: dynaview local up")
    try:
        items = list(from_file(file))
    except ItemsError as error:
        raise LoadError(str(error)) from None
    client: DynamoDBClient = boto3.client(
        "dynamodb",
        endpoint_url=run.urls["dynamodb"],  # whatever the environment names: nothing reaches an account
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    try:
        made = _made(client, table, items[0], key)
        for item in items:
            _put(client, table, item)
    except BotoCoreError as error:
        raise LoadError(f"DynamoDB Local at {run.urls['dynamodb']} does not answer: {error}") from error
    finally:
        client.close()
    what = "1 item" if len(items) == 1 else f"{len(items):,} items"
    click.echo(f"Put {what} into the table {table}{', which is new and has a stream' if made else ''}.")


def _made(client: DynamoDBClient, table: str, first: Item, key: tuple[str, ...]) -> bool:
    """Make the table where it is missing; whether it was."""
    try:
        client.describe_table(TableName=table)
    except client.exceptions.ResourceNotFoundException:
        image = first.image or {}
        names = key or tuple(name for name in ("pk", "sk") if name in image)
        if "pk" not in names and not key:
            raise LoadError(f"{first.origin}: the item has no pk: name the table's key with --key") from None
        try:
            create_table(client, table, {name: _kind(image.get(name), name) for name in names})
        except ValueError as error:
            raise LoadError(f"{first.origin}: {error}") from None
        except ClientError as error:
            raise LoadError(f"the table {table} cannot be made: {_said(error)}") from None
        return True
    except ClientError as error:
        raise LoadError(f"the table {table} cannot be looked at: {_said(error)}") from None
    return False


def _kind(attr: Attr | None, name: str) -> ScalarAttributeTypeType:
    if attr is None or (attr.S is None and attr.N is None and attr.B is None):
        raise ValueError(f"the item has no text, number or binary {name}, which the table's key is made of; see --key")
    return "S" if attr.S is not None else "N" if attr.N is not None else "B"


def _put(client: DynamoDBClient, table: str, item: Item) -> None:
    try:
        client.put_item(TableName=table, Item=wire(item.image or {}))
    except ClientError as error:
        raise LoadError(f"{item.origin}: the table {table} refuses the item: {_said(error)}") from None


def _said(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message") or error)
