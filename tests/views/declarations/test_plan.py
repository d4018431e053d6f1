"""``dynaview plan``: what changed of each view, what follows, how much it is; with and without servers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import yaml
from click.testing import CliRunner, Result

from dynaview.local import servers
from dynaview.projections.declaration import Declaration, SinkDeclaration, SourceDeclaration, ViewDeclaration
from dynaview.projections.rows import Write
from dynaview.sinks.connect import connect
from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import Sink, SinkUnavailable
from dynaview.sources.errors import CredentialsMissing, SourceUnavailable
from dynaview.sources.port import TableReader
from dynaview.views.cli import cli
from dynaview.views.cli.plan import lines
from dynaview.views.control.records import Counts, Generation, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.table import KeptTable
from dynaview.views.daemon.table_worker import TableWorker, WorkerSettings
from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.load import load
from dynaview.views.declarations.plan import READ_UNIT, Planned, Rows, Size, Standing, plan
from dynaview.views.streaming.pipeline import PipelineSettings
from dynaview.views.threads import Threads
from tests.support.filling import set_filled
from tests.support.follower_harness import QUICK
from tests.support.scripted import ScriptedTable
from tests.support.until import until

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

VIEWS: dict[str, Any] = {
    "cards": {
        "source": "shop",
        "sink": "cache",
        "match": {"pk": "C#{id}"},
        "key": "c:{id}",
        "fields": {"name": "name"},
    },
    "orders": {
        "source": "shop",
        "sink": "reads",
        "match": {"pk": "O#{id}"},
        "table": "orders",
        "key": "id",
        "fields": {"id": "id", "total": {"type": "integer"}},
    },
}
ARN = "arn:aws:dynamodb:eu-west-1:1:table/shop/stream/2026-01-01T00:00:00.000"

Declare = Callable[..., Declaration]


@pytest.fixture
def declare(tmp_path: Path) -> Declare:
    """A declaration of these views."""

    def declared(views: dict[str, Any], **more: Any) -> Declaration:
        whole = {
            "sources": {"shop": {"table": "shop"}},
            "sinks": {"cache": {"redis": "redis://cache"}, "reads": {"postgres": "postgresql://reads/shop"}},
            "views": views,
            **more,
        }
        (tmp_path / "dynaview.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
        return load([tmp_path / "dynaview.yaml"], {})

    return declared


def record(view: ViewDeclaration, generation: int = 1, **more: Any) -> ViewRecord:
    given: dict[str, Any] = {
        "name": view.name,
        "source": view.source,
        "sink": view.sink,
        "fingerprint": fingerprint(view, "shop"),
        "generation": generation,
        "stream_arn": ARN,
        "stream_count": 0,
        "state": "following",
        "reason": "",
        "since": 0.0,
        "seen": 0.0,
        "watermark": None,
        "filled": True,
        "revision": 0,
        "write_order": (generation,),
        "counts": Counts(),
    }
    return ViewRecord(**{**given, **more})


def build(view: ViewDeclaration, generation: int = 1, role: Any = "live") -> Generation:
    return Generation(view.name, generation, fingerprint(view, "shop"), encode(view), role, True, True, 0.0)


class Asked:
    """A table of five items and 10,000 bytes, stores in memory, and what was asked of them."""

    def __init__(self) -> None:
        self.tables: list[str] = []
        self.memory = MemorySink("memory")
        self.source_error: Exception | None = None
        self.sink_error: Exception | None = None
        self.read_units: int | None = None

    def source(self, declared: SourceDeclaration) -> TableReader:
        self.tables.append(declared.table)
        if self.source_error is not None:
            raise self.source_error
        table = ScriptedTable(declared.table)
        describe = table.describe
        table.describe = lambda: replace(describe(), items=5, size=10_000, read_units=self.read_units)  # type: ignore[method-assign]  # a script
        return table

    def sink(self, declared: SinkDeclaration) -> Sink:
        if self.sink_error is not None:
            raise self.sink_error
        return self.memory

    def standing(self, records: Sequence[ViewRecord], *generations: Generation) -> Standing:
        by_view: Mapping[str, list[Generation]] = {
            one.name: [each for each in generations if each.view == one.name] for one in records
        }
        return Standing({one.name: one for one in records}, by_view.__getitem__, self.source, self.sink)


def edited(view: str, **keys: Any) -> dict[str, Any]:
    return {**VIEWS, view: {**VIEWS[view], **keys}}


def planned(old: Declaration, new: Declaration, asked: Asked, name: str = "orders") -> Planned:
    """What is planned for one view that was built as `old` says."""
    view = old.views[name]
    (found,) = plan(new, asked.standing([record(view)], build(view)), [name])
    return found


def test_views_that_never_started_are_new(declare: Declare) -> None:
    asked = Asked()
    cards, orders = plan(declare(VIEWS), asked.standing([]))
    assert cards == Planned(
        "cards", "new", "dynaview run fills it", True, on_change="ask", size=Size("shop", 5, 10_000)
    )
    assert (orders.view, orders.state, orders.to_do, orders.rows) == ("orders", "new", True, None)
    assert cards.size is not None
    assert cards.size.read_units == 3
    assert asked.tables == ["shop"], "each table is asked once"


def test_views_as_they_were_built_need_nothing_and_ask_nobody(declare: Declare) -> None:
    asked, declaration = Asked(), declare(VIEWS)
    views = list(declaration.views.values())
    found = plan(declaration, asked.standing([record(view) for view in views], *map(build, views)))
    assert [(each.state, each.to_do, each.do, each.size, each.rows) for each in found] == [
        ("unchanged", False, "", None, None)
    ] * 2
    assert asked.tables == []


def test_a_rebuild_says_how_much_it_is(declare: Declare) -> None:
    asked, old = Asked(), declare(VIEWS)
    asked.memory.open(old.views["orders"].layout, 1).prepare()
    new = declare(edited("orders", fields={"id": "id", "total": {"type": "decimal"}}))
    found = planned(old, new, asked)
    assert (found.state, found.to_do) == ("changed", True)
    assert [str(change) for change in found.difference.changes] == ["fields.total: type integer -> decimal"]
    assert found.difference.consequence == "rebuild"
    assert found.do == "a rebuild is needed; dynaview rebuild orders starts it"
    assert (found.size, found.rows) == (Size("shop", 5, 10_000), Rows(0))


@pytest.mark.parametrize(
    ("on_change", "do"),
    [
        ("rebuild", "a rebuild is needed; dynaview run starts it"),
        ("ask", "a rebuild is needed; dynaview rebuild orders starts it"),
        ("stop", "a rebuild is needed, and the view stops until then; dynaview rebuild orders starts it"),
    ],
)
def test_what_follows_is_what_on_change_says(declare: Declare, on_change: str, do: str) -> None:
    found = planned(declare(VIEWS), declare(edited("orders", where="total", on_change=on_change)), Asked())
    assert (found.do, found.on_change) == (do, on_change)


def test_added_fields_are_named(declare: Declare) -> None:
    fields = {**VIEWS["orders"]["fields"], "city": "city", "zip": "zip"}
    found = planned(declare(VIEWS), declare(edited("orders", fields=fields)), Asked())
    assert found.difference.columns == ("city", "zip")
    assert found.do == "the rows lack city, zip until a rebuild; dynaview rebuild orders starts it"


@pytest.mark.parametrize(
    ("key", "value", "do"),
    [
        ("keep", "7d", "the rows stay as they are"),
        ("indexes", ["total"], "the rows stay as they are; indexes are made and removed at the next start"),
    ],
)
def test_what_does_not_touch_rows_is_shown_but_nothing_is_to_do(
    declare: Declare, key: str, value: Any, do: str
) -> None:
    asked = Asked()
    found = planned(declare(VIEWS), declare(edited("orders", **{key: value})), asked)
    assert (found.state, found.to_do, found.do, found.size) == ("changed", False, do, None)
    assert len(found.difference.changes) == 1
    assert asked.tables == []


def test_a_view_that_was_never_whole_is_filled_as_it_is_declared_now(declare: Declare) -> None:
    asked, old = Asked(), declare(VIEWS)
    new = declare(edited("orders", where="total"))
    standing = asked.standing(
        [record(view, filled=False) for view in old.views.values()], *map(build, old.views.values())
    )
    (found,) = plan(new, standing, ["orders"])
    assert (found.state, found.to_do, found.by_itself) == ("new", True, True)
    assert found.size == Size("shop", 5, 10_000)


def test_one_scan_for_all_new_views_of_a_table_and_how_long_it_takes(declare: Declare) -> None:
    asked = Asked()
    asked.read_units = 2
    told = list(lines(plan(declare(VIEWS), asked.standing([]))))
    assert told[2:4] == [
        "table shop: about 5 items, 9.8 KiB; a scan costs about 3 read units, at 1 a second at least 3 s",
        "  by one scan: cards, orders",
    ]


def test_another_table_is_a_change(declare: Declare) -> None:
    old = declare(VIEWS)
    new = declare(VIEWS, sources={"shop": {"table": "shop-2"}})
    found = planned(old, new, Asked())
    assert [str(change) for change in found.difference.changes] == ["source.table: shop -> shop-2"]
    assert found.to_do


def test_views_that_are_no_longer_declared_are_told_last_with_the_command_that_drops_them(declare: Declare) -> None:
    asked, old = Asked(), declare(VIEWS)
    asked.memory.open(old.views["cards"].layout, 1).prepare()
    views = list(old.views.values())
    standing = asked.standing([record(view) for view in views], *map(build, views))
    orders, cards = plan(declare({"orders": VIEWS["orders"]}), standing)
    assert (orders.view, orders.state) == ("orders", "unchanged")
    assert (cards.state, cards.to_do, cards.rows) == ("removed", True, Rows(0))
    assert cards.do == "no longer declared; dynaview drop cards removes its rows"


def test_a_removed_view_whose_sink_is_gone_too(declare: Declare) -> None:
    old = declare(VIEWS)
    new = declare({"orders": VIEWS["orders"]}, sinks={"reads": {"postgres": "postgresql://r/s"}})
    view = old.views["cards"]
    (found,) = plan(new, Asked().standing([record(view)], build(view)), ["cards"])
    assert found.do == "no longer declared; declare its sink cache again, then dynaview drop cards"
    assert found.rows == Rows(unknown="its sink cache is not declared")


def test_a_view_of_which_no_declaration_was_kept_is_rebuilt_without_saying_why(declare: Declare) -> None:
    old, new = declare(VIEWS), declare(edited("orders", where="total"))
    view = old.views["orders"]
    generation = replace(build(view), declaration="")
    (found,) = plan(new, Asked().standing([record(view)], generation), ["orders"])
    assert found.to_do
    assert found.do.startswith("what changed is not known (no recorded declaration); a rebuild is needed")
    assert found.difference.changes == ()
    assert found.difference.consequence == "rebuild"


def test_a_fingerprint_of_another_version_of_dynaview_is_a_change(declare: Declare) -> None:
    view = declare(VIEWS).views["orders"]
    standing = Asked().standing([record(view, fingerprint="0" * 64)], build(view))
    (found,) = plan(declare(VIEWS), standing, ["orders"])
    assert found.to_do
    assert [str(change) for change in found.difference.changes] == [
        "declaration: as another version of dynaview read it -> as this one does"
    ]


def test_a_rebuild_under_way_is_told(declare: Declare) -> None:
    old, new = declare(VIEWS), declare(edited("orders", where="total"))
    third = declare(edited("orders", where="id"))
    view = old.views["orders"]
    builds = [build(view), build(new.views["orders"], 2, "next")]
    (found,) = plan(new, Asked().standing([record(view)], *builds), ["orders"])
    assert (found.do, found.to_do) == ("a rebuild by this declaration is under way", True)
    (found,) = plan(third, Asked().standing([record(view)], *builds), ["orders"])
    assert found.do == "a rebuild by another declaration is under way; dynaview rebuild --cancel orders ends it"


def test_the_live_generation_counts_not_one_that_is_kept_for_a_rollback(declare: Declare) -> None:
    old, new = declare(VIEWS), declare(edited("orders", where="total"))
    before, live = build(old.views["orders"], 1, "previous"), build(new.views["orders"], 2)
    (found,) = plan(new, Asked().standing([record(new.views["orders"], 2)], before, live), ["orders"])
    assert found.state == "unchanged"


def test_what_cannot_be_asked_is_not_known(declare: Declare) -> None:
    asked, old = Asked(), declare(VIEWS)
    new = declare(edited("orders", where="total"))
    asked.source_error = SourceUnavailable("DescribeTable on shop got no answer")
    asked.sink_error = ValueError("not the URL of a Postgres")
    found = planned(old, new, asked)
    assert found.difference.consequence == "rebuild"
    assert found.size == Size("shop", unknown="DescribeTable on shop got no answer")
    assert found.size.read_units is None
    assert found.rows == Rows(unknown="not the URL of a Postgres")
    asked.source_error = CredentialsMissing("no credentials")
    assert planned(old, new, asked).size == Size("shop", unknown=str(asked.source_error))


def test_a_store_that_is_away_is_told(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()

    def away(*_: object) -> int:
        raise SinkUnavailable("Postgres does not answer")

    monkeypatch.setattr("dynaview.sinks.memory.MemoryTarget.count", away)
    found = planned(declare(VIEWS), declare(edited("orders", where="total")), asked)
    assert found.rows == Rows(unknown="Postgres does not answer")


def test_what_does_not_touch_rows_is_no_change_any_more_once_the_daemon_has_started(
    declare: Declare, started: ControlStore
) -> None:
    new = declare({"cards": {**VIEWS["cards"], "keep": "7d"}})
    asked = Asked()

    def planned() -> Planned:
        records = {one.name: one for one in started.views()}
        return plan(new, Standing(records, started.generations, asked.source, asked.sink), ["cards"])[0]

    assert (planned().state, planned().to_do) == ("changed", False)
    threads = Threads()
    settings = WorkerSettings(PipelineSettings(), QUICK)
    table = ScriptedTable(clock=time.time)
    kept = KeptTable(new.sources["shop"], {"cards": new.views["cards"]}, table, {"cache": asked.memory}, started)
    worker = TableWorker(kept, settings, threads)
    worker.start()
    try:
        until(lambda: planned().state == "unchanged", "the declaration to be recorded")
    finally:
        worker.stop()
    assert not threads.crashed.is_set()
    assert [each.declaration for each in started.generations("orders")] == [encode(declare(VIEWS).views["orders"])]


# The command


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


@pytest.fixture
def started(tmp_path: Path, declare: Declare) -> ControlStore:
    """A control store that knows the views as they were first declared."""
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    for view in declare(VIEWS).views.values():
        mark = fingerprint(view, "shop")
        control.add_view(view.name, view.source, view.sink, mark, ARN, declaration=encode(view))
        set_filled(control, view.name)
    return control


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
