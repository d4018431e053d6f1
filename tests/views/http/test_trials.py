"""Declarations and previews over HTTP: what is declared, what changed since, which rows an item would give."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.load import load
from tests.support.first_fill import set_filled
from tests.views.http.conftest import DECLARED, Served
from tests.views.http.test_app import conforms

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


def test_a_declaration_is_told_key_by_key(served: Served) -> None:
    answer = served.ask("/api/views/card/declaration")
    assert answer.status == 200
    conforms(answer.body, "Declared")
    lines = {each["path"]: each["value"] for each in answer.body["declared"]}
    assert lines["key"] == "c:{pk}"
    assert lines["fields.pk"] == "{from: pk, type: any}"
    assert answer.body["at"].endswith("dynaview.yaml:6")
    assert "redis://" not in answer.text
    assert served.ask("/api/views/none/declaration").status == 404


def test_what_is_declared_otherwise_than_it_was_built_is_told_with_what_follows(tmp_path: Path) -> None:
    made = Served(tmp_path)
    try:
        earlier = tmp_path / "earlier"
        earlier.mkdir()
        file = earlier / "dynaview.yaml"
        text = DECLARED.format(control=f"sqlite:///{tmp_path}/control.db")
        file.write_text(text.replace("fields: {pk: pk}", "where: \"pk != 'x'\", fields: {pk: pk, more: more}", 1))
        old = load([file], {}).views["card"]
        made.control.add_view("card", "shop", "cache", fingerprint(old, "shop"), "arn", encode(old))
        set_filled(made.control, "card")
        found = made.ask("/api/views/card/declaration").body
        conforms(found, "Declared")
        assert found["state"] == "changed"
        assert [(each["path"], each["after"]) for each in found["changes"]] == [("where", None), ("fields.more", None)]
        new = made.ask("/api/views/lines/declaration").body
        assert (new["state"], new["do"]) == ("new", "dynaview run fills it")
    finally:
        made.close()


def test_an_item_is_tried_and_its_numbers_stay_exact(served: Served) -> None:
    answer = served.post("/api/views/card/preview", {"item": '{"pk": 12345678901234567890.123456789}'})
    assert answer.status == 200
    (item,) = answer.body["items"]
    assert item["result"] == "rows"
    assert "12345678901234567890.123456789" in answer.text
    broken = served.post("/api/views/card/preview", {"item": '{"other": "x"}'}).body["items"][0]
    assert broken["result"] == "dead-letter"
    assert "pk" in broken["reason"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"item": "/etc/passwd"},
        {"item": "dynaview.yaml"},
        {"item": "null"},
        {"item": "{"},
        {"item": "[]"},
        {"item": '{"a": NaN}'},
        {"item": '{"a": ' + "[" * 5000 + "]" * 5000 + "}"},
        {"item": "{}", "limit": 1},
        {"limit": 0},
        {"limit": 21},
        {"limit": -1},
        {"item": 7},
        {"file": "x"},
    ],
)
def test_what_is_no_item_is_refused_and_no_file_is_read(served: Served, body: dict[str, Any]) -> None:
    answer = served.post("/api/views/card/preview", body)
    assert (answer.status, bool(answer.body["error"])) == (400, True)
    assert "root:" not in answer.text


def test_a_preview_needs_the_token(served: Served) -> None:
    assert served.post("/api/views/card/preview", {"item": '{"pk": "a"}'}, token=None).status == 401


def test_items_of_the_table_are_tried_by_key_and_by_number(
    tmp_path: Path, dynamodb: DynamoDBClient, dynamodb_endpoint: str
) -> None:
    name = f"trials{uuid.uuid4().hex[:10]}"
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    made = Served(tmp_path, declared=DECLARED.replace("table: shop", f'table: {name}, endpoint: "{dynamodb_endpoint}"'))
    try:
        dynamodb.put_item(TableName=name, Item={"pk": {"S": "a"}})
        found = made.post("/api/views/card/preview", {"key": '{"pk": "a"}'}).body
        assert [row["key"] for item in found["items"] for row in item["rows"]] == ["c:a"]
        assert made.post("/api/views/card/preview", {"limit": 5}).body["items"] == found["items"]
        missing = made.post("/api/views/card/preview", {"key": '{"pk": "b"}'}).body
        assert (missing["items"], missing["notes"]) == ([], ["the table has no such item"])
        assert made.post("/api/views/card/preview", {"key": '{"no": "b"}'}).status == 400
    finally:
        made.close()
        dynamodb.delete_table(TableName=name)
