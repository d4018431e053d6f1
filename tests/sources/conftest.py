"""A stub of AWS, readers on it, and tables on DynamoDB Local."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from dynaview.projections.attributes import Shape
from dynaview.sources.session import Session
from dynaview.sources.stream import DynamoStream
from dynaview.sources.table import DynamoTable
from tests.sources.bodies import ARN
from tests.sources.stub import Stub

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server of scripted answers."""
    server = Stub()
    yield server
    server.close()


@pytest.fixture(scope="session")
def boto_session() -> boto3.Session:
    """One for all tests, as it keeps the service models, which take long to read."""
    return boto3.Session()


@pytest.fixture
def session(stub: Stub, boto_session: boto3.Session) -> Iterator[Session]:
    """Clients of the stub that ask once only."""
    opened = Session("eu-west-1", stub.url, attempts=1, read=5.0, session=boto_session)
    yield opened
    opened.close()


@pytest.fixture
def reader(session: Session) -> DynamoStream:
    """A stream on the stub that keeps whole items."""
    return DynamoStream(session, ARN, Shape(None))


@pytest.fixture
def table(session: Session) -> DynamoTable:
    """A table on the stub that never pauses."""
    return DynamoTable(session, "shop", pause=lambda _: None)


@pytest.fixture(scope="session")
def local_session(dynamodb_endpoint: str) -> Iterator[Session]:
    """Clients of DynamoDB Local."""
    opened = Session("eu-west-1", dynamodb_endpoint)
    yield opened
    opened.close()


@pytest.fixture
def make_table(dynamodb: DynamoDBClient, local_session: Session) -> Iterator[Callable[..., DynamoTable]]:
    """Makes tables of their own name on DynamoDB Local, gone after the test."""
    made: list[str] = []

    def make(view_type: str | None = "NEW_AND_OLD_IMAGES", key_type: Any = "S") -> DynamoTable:
        name = f"source_{uuid.uuid4().hex[:12]}"
        specification: Any = {"StreamEnabled": view_type is not None}
        if view_type is not None:
            specification["StreamViewType"] = view_type
        dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": key_type},
            ],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification=specification,
        )
        made.append(name)
        return DynamoTable(local_session, name)

    yield make
    for name in made:
        dynamodb.delete_table(TableName=name)
