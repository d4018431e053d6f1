"""The plan of a declaration: what changed of each view, what follows, how much it is."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from dynaview.projections.declaration import Declaration
from dynaview.sinks.port import SinkUnavailable
from dynaview.sources.errors import CredentialsMissing, SourceUnavailable
from dynaview.views.cli.plan import lines
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.table_worker import TableWorker, WorkerSettings
from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.plan import Planned, Rows, Size, Standing, plan
from dynaview.views.kept_table import KeptTable
from dynaview.views.streaming.pipeline import PipelineSettings
from dynaview.views.threads import Threads
from tests.support.follower_harness import QUICK
from tests.support.scripted import ScriptedTable
from tests.support.until import until
from tests.views.declarations.planning import VIEWS, Asked, Declare, build, edited, record


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
