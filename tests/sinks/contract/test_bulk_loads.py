"""What the port says of loads in bulk, over every store: made good by `finish`, also while writes go on."""

from __future__ import annotations

import threading

from dynaview.projections.changes import SCANNED
from dynaview.projections.rows import Field, Layout, RedisOptions, Rule, Write
from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import APPLIED, STALE
from tests.sinks.contract.generations import Generations, label
from tests.sinks.contract.shop import Shop
from tests.sinks.contract.subjects import Subject


def test_a_bulk_load_is_finished_and_published(subject: Subject, generations: Generations) -> None:
    live = generations.prepared(1)
    live.does(live.put("row 0", 1, 1))
    live.target.publish()
    shop = generations.prepared(2, bulk=True)
    shop.target.prepare(bulk=True)
    scanned = [shop.put(f"row {row}", SCANNED, 4, rule=Rule.ABSENT) for row in range(300)]
    changes = [shop.put("row 1", 5, 5), shop.delete("row 2", 5), shop.put("new", 5, 5), shop.delete("gone", 5)]
    shop.target.write(changes)
    outcomes = shop.target.write(scanned)
    absent = range(3 if subject.beside else 0, 300)
    assert [outcomes[row] for row in absent if row not in (0, 1, 2)] == [APPLIED] * 297
    assert outcomes[1:3] == [STALE, STALE]
    assert outcomes[0] is (APPLIED if subject.beside else STALE)
    if outcomes[0] is STALE:
        assert shop.conditionally(scanned[0], shop.seen("row 0")) is APPLIED
    assert shop.target.count() == 300
    assert shop.target.finish() == []
    assert shop.target.finish() == []
    later = shop.put("row 3", 6, 5)
    assert shop.does(later) is APPLIED
    shop.target.publish()
    for write in (*changes, later, *scanned[4:10]):
        assert shop.stands(write)
    assert shop.target.count() == 300
    if subject.shown is not None:
        assert subject.shown(generations.layout) == [label(4)] * 297 + [label(5)] * 3
        assert generations.published() == 2
    shop.target.prepare()
    assert subject.sink.problems(generations.layout) == []
    assert shop.target.count() == 300


def test_preparing_again_after_a_bulk_load_that_was_cut_off(generations: Generations) -> None:
    shop = generations.prepared(2, bulk=True)
    rows = [shop.put(f"{row}", SCANNED, rule=Rule.ABSENT) for row in range(20)]
    shop.target.write(rows)
    again = Shop(generations.subject, generations.subject.another().open(generations.layout, 2))
    again.target.prepare(bulk=True)
    again.target.write(rows)
    again.target.finish()
    again.target.publish()
    assert again.target.count() == 20
    assert all(map(again.stands, rows))


def test_finish_goes_on_while_writes_do(generations: Generations) -> None:
    shop = generations.prepared(2, bulk=True)
    shop.target.write([shop.put(f"{row}", 1, row) for row in range(500)])
    begun, stop = threading.Event(), threading.Event()
    written: list[Write] = []

    def follow() -> None:
        version = 2
        while not stop.is_set():
            batch = [shop.put(f"{(version * 10 + row) % 500}", version, 1) for row in range(10)]
            assert shop.target.write(batch) == [APPLIED] * 10
            written.extend(batch)
            version += 1
            begun.set()

    writer = threading.Thread(target=follow)
    writer.start()
    assert begun.wait(30)
    shop.target.finish()
    stop.set()
    writer.join(30)
    assert not writer.is_alive()
    shop.target.publish()
    last = {write.key: write for write in written}
    assert all(map(shop.stands, list(last.values())[-10:]))
    assert shop.target.count() == 500


def test_a_row_that_is_refused_late_is_named_until_its_letter_is_kept() -> None:
    sink = MemorySink("memory", refuses_late=lambda row: "too long" if row.key == "b" else None)
    target = sink.open(Layout("v", (), (Field("a"),), RedisOptions()), 1)
    target.prepare(bulk=True)
    target.write([Write(key, ("x",), 5) for key in ("a", "b", "c")])
    (named,) = target.finish()
    assert (named.row.key, named.refused.reason) == ("b", "too long")
    assert target.finish() == [named], "nothing was taken out yet"
    assert target.count() == 3
    assert target.finish([named]) == []
    assert {row.key for row in target.rows()} == {"a", "c"}
    (tombstone,) = target.read(["b"])
    assert tombstone is not None
    assert (tombstone.version, tombstone.content) == (5, None)
    target.write([Write("b", ("y",), 6)])
    assert target.finish([named]) != [], "what is newer than what was seen stays"
    assert target.count() == 3
