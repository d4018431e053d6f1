"""``dynaview plan``: with and without servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import yaml
from click.testing import CliRunner, Result

from dynaview.local import servers
from dynaview.projections.declaration import SinkDeclaration
from dynaview.projections.rows import Write
from dynaview.sinks.connect import connect
from dynaview.views.cli import cli
from dynaview.views.cli.plan import lines
from dynaview.views.control.store import ControlStore
from dynaview.views.cost import READ_UNIT
from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.plan import Rows, Size, plan
from tests.support.first_fill import set_filled

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
from tests.views.declarations.planning import ARN, VIEWS, Asked, Declare, build, edited, record


def test_the_page_shows_what_the_command_says(declare: Declare) -> None:
    page = (Path(__file__).parents[3] / "docs" / "declarations.md").read_text()
    search = {"source": "shop", "sink": "cache", "key": "o:{id}", "fields": {"id": "id", "total": {"type": "integer"}}}
    old = declare({"order_search": search, "customer_card": VIEWS["cards"]}).views
    changed = {**search, "where": "status != 'DRAFT'", "fields": {"id": "id", "total": {"type": "decimal"}}}
    card = {**VIEWS["cards"], "keep": "7d"}
    new = declare({"order_search": changed, "customer_card": card})
    views = list(old.values())
    search_plan, card_plan = plan(new, Asked().standing([record(view) for view in views], *map(build, views)))
    gone = record(replace(views[0], name="labels"))
    (removed,) = plan(new, Asked().standing([gone]), ["labels"])
    size = Size("shop", 1_200_000, 838_861 * READ_UNIT)
    shown = lines(
        [
            replace(search_plan, size=size, rows=Rows(800_000)),
            card_plan,
            replace(removed, rows=Rows(12_345)),
        ]
    )
    assert "```text\n" + "\n".join(shown) + "\n```\n" in page


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """``dynaview plan`` on some views, with no servers but those that are named."""

    def command(views: dict[str, Any], *arguments: str, redis: str = "redis://127.0.0.1:1", **source: str) -> Result:
        whole = {
            "sources": {
                "shop": {"table": "shop", "region": servers.REGION, "endpoint": "http://127.0.0.1:1", **source}
            },
            "sinks": {"cache": {"redis": redis}, "reads": {"postgres": "postgresql://127.0.0.1:1/shop"}},
            "control": f"sqlite:///{tmp_path / 'control.db'}",
            "views": views,
        }
        (tmp_path / "dynaview.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
        monkeypatch.chdir(tmp_path)
        return CliRunner().invoke(cli, ["plan", *arguments])

    return command


@pytest.mark.usefixtures("started")
def test_nothing_to_do(run: Callable[..., Result]) -> None:
    done = run(VIEWS, "--check")
    assert (done.exit_code, done.output) == (0, "cards: unchanged\norders: unchanged\nnothing to do\n")
    done = run(edited("orders", keep=0), "--check")
    assert done.exit_code == 0
    assert done.output == (
        "cards: unchanged\norders: changed: the rows stay as they are\n  keep: 24h -> 0s\nnothing to do\n"
    )


@pytest.mark.usefixtures("started")
def test_without_servers_the_difference_is_shown_all_the_same(run: Callable[..., Result]) -> None:
    views = {
        "orders": {**VIEWS["orders"], "where": "total", "on_gap": "rebuild"},
        "more": {**VIEWS["cards"], "key": "m:{id}"},
    }
    done = run(views, "--check")
    assert done.exit_code == 1
    shown = done.output.splitlines()
    assert shown[:4] == [
        "orders: changed: a rebuild is needed; dynaview rebuild orders starts it",
        "  where: added total",
        "  on_gap: stop -> rebuild",
        shown[3],
    ]
    assert shown[3].startswith("  how many rows the view has is not known: ")
    assert shown[4:6] == [
        "more: new: dynaview run fills it",
        "cards: removed: no longer declared; dynaview drop cards removes its rows",
    ]
    assert shown[7].startswith("table shop: how large it is is not known: DescribeTable on shop got no answer")
    assert shown[8:] == ["to do: 1 new, 1 changed, 1 removed"]
    assert run(views).exit_code == 0


@pytest.mark.usefixtures("started")
def test_json_says_the_same(run: Callable[..., Result]) -> None:
    done = run(edited("orders", fields={"id": "id", "total": {"type": "decimal"}}), "--json", "orders")
    assert done.exit_code == 0
    (found,) = json.loads(done.output)
    assert found["table"].pop("unknown").startswith("DescribeTable on shop got no answer")
    assert found["rows"].pop("unknown")
    assert found == {
        "view": "orders",
        "state": "changed",
        "to_do": True,
        "do": "a rebuild is needed; dynaview rebuild orders starts it",
        "consequence": "rebuild",
        "columns": [],
        "on_change": "ask",
        "changes": [{"path": "fields.total", "key": "type", "before": "integer", "after": "decimal"}],
        "table": {"name": "shop", "items": None, "bytes": None, "read_units": None, "seconds": None},
        "rows": {"count": None},
    }


@pytest.mark.usefixtures("started")
def test_errors_end_with_code_2(run: Callable[..., Result]) -> None:
    done = run(VIEWS, "cardz")
    assert done.exit_code == 2
    assert "no view is called cardz; there are cards, orders" in done.stderr


@pytest.mark.usefixtures("started")
def test_a_removed_view_can_be_asked_for_by_name(run: Callable[..., Result]) -> None:
    done = run({"orders": VIEWS["orders"]}, "cards")
    assert done.output.splitlines()[0] == "cards: removed: no longer declared; dynaview drop cards removes its rows"


def test_sizes_come_from_the_table_and_the_store(
    run: Callable[..., Result],
    declare: Declare,
    tmp_path: Path,
    dynamodb: DynamoDBClient,
    dynamodb_endpoint: str,
    redis_url: str,
) -> None:
    name = f"plan-{uuid4().hex[:12]}"
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for number in range(3):
        dynamodb.put_item(TableName=name, Item={"pk": {"S": f"C#{number}"}})
    views = edited("cards", key=f"{name}:{{id}}")
    view = declare(views).views["cards"]
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    arn = ARN.replace("table/shop", f"table/{name}")
    control.add_view("cards", "shop", "cache", fingerprint(view, name), arn, declaration=encode(view))
    set_filled(control, "cards")
    control.close()
    sink = connect(SinkDeclaration("cache", "redis", redis_url, "", {}, view.at))
    target = sink.open(view.layout, 1)
    target.prepare()
    target.write([Write(f"{name}:{number}", ("Ada",), 1) for number in range(2)])
    try:
        changed = {"cards": {**views["cards"], "where": "name"}}
        done = run(changed, redis=redis_url, table=name, endpoint=dynamodb_endpoint)
    finally:
        target.drop()
        sink.close()
        dynamodb.delete_table(TableName=name)
    shown = done.output.splitlines()
    assert shown[:3] == [
        "cards: changed: a rebuild is needed; dynaview rebuild cards starts it",
        "  where: added name",
        "  the view has 2 rows",
    ]
    assert shown[3].startswith(f"table {name}: about 3 items, ")
    assert shown[3].endswith("; a scan costs about 1 read units")
    assert done.exit_code == 0
