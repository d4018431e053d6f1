"""``dynaview init`` and ``dynaview infer`` as people run them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from boto3.dynamodb.types import TypeSerializer
from click.testing import Result

from dynaview.local import servers
from dynaview.views.demo.shop import Shop

Run = Callable[..., Result]


def test_init_writes_a_declaration_that_validates_and_overwrites_nothing(run: Run, shop: Path) -> None:
    (shop / "dynaview.yaml").unlink()
    done = run("init", "--table", "shop", "--sink", "postgres")
    assert (done.exit_code, done.stdout) == (0, "wrote dynaview.yaml; edit it, then: dynaview validate\n")
    assert run("validate").exit_code == 0
    (shop / "dynaview.yaml").write_text("mine")
    done = run("init")
    assert (done.exit_code, (shop / "dynaview.yaml").read_text()) == (2, "mine")
    assert "dynaview.yaml is there already, and stays as it is" in done.stderr
    assert "dynaview validate -f other.yaml" in run("init", "other.yaml").stdout


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["init", "no/such/folder.yaml"], "can't be written: No such file or directory"),
        (["init", "x.yaml", "--table", "a\nb"], "not the name of a DynamoDB table"),
        (["init", "x.yaml", "--sink", "mysql"], "'mysql' is not one of 'redis', 'opensearch', 'postgres'"),
        (["infer"], "Missing argument 'TABLE'"),
    ],
)
def test_wrong_questions_end_with_2(run: Run, words: list[str], problem: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert problem in " ".join(done.stderr.split())


@pytest.fixture
def table(dynamodb: Any) -> Iterator[str]:
    """The shop of the demo on DynamoDB Local."""
    name = f"infer-{uuid4().hex[:8]}"
    dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        BillingMode="PAY_PER_REQUEST",
    )
    yield name
    dynamodb.delete_table(TableName=name)


def test_the_shop_is_understood(
    run: Run, shop: Path, table: str, dynamodb: Any, dynamodb_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMODB_ENDPOINT", dynamodb_endpoint)
    asked = ("infer", table, "--endpoint", dynamodb_endpoint, "--region", servers.REGION)
    done = run(*asked)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "has no items to look at: dynaview init writes an example" in done.stderr
    serializer, made = TypeSerializer(), Shop(7)
    list(made.opening())
    for item in made.items():
        wire = {attribute: serializer.serialize(value) for attribute, value in item.items()}
        dynamodb.put_item(TableName=table, Item=wire)
    done = run(*asked, "--json")
    shown = json.loads(done.stdout)
    assert shown.keys() == {"table", "key", "items", "more", "read_units", "views"}
    assert (shown["key"], shown["items"], shown["more"]) == (["pk", "sk"], len(made.items()), False)
    views = {view["name"]: view for view in shown["views"]}
    assert views["customer_profile"]["match"] == {"pk": "CUSTOMER#{customer_id}", "sk": "PROFILE"}
    assert views["customer_order"]["match"] == {"pk": "CUSTOMER#{customer_id}", "sk": "ORDER#{order_id}"}
    types = {each["name"]: each["type"] for each in views["customer_order"]["attributes"]}
    assert (types["placed_at"], types["total"], types["lines"]) == ("timestamp", "decimal", "json")
    for sink in ("redis", "opensearch", "postgres"):
        done = run(*asked, "--sink", sink)
        assert done.exit_code == 0
        (shop / "dynaview.yaml").write_text(done.stdout)
        assert run("validate").exit_code == 0
        shown = json.loads(run("preview", "customer_order", "--json", "--limit", "1000").stdout)
        assert shown["counts"]["rows"] == shown["counts"]["items"] == views["customer_order"]["items"]


def test_a_table_that_is_not_there(run: Run, dynamodb_endpoint: str) -> None:
    done = run("infer", "no-such-table", "--endpoint", dynamodb_endpoint, "--region", servers.REGION)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "no-such-table" in done.stderr
