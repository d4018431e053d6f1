"""What the port says of generations: beside each other, or in place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import product

import pytest

from dynaview.projections.changes import SCANNED
from dynaview.projections.rows import Layout, Rule, Write
from dynaview.sinks.port import APPLIED, STALE, ConditionalWrite, Rejected, RejectedKind, Room, Stored
from tests.sinks.contract.generations import Generations, label
from tests.sinks.contract.shop import Shop
from tests.sinks.contract.subjects import Subject

# Beside each other


@pytest.fixture
def shown(subject: Subject) -> Callable[[Layout], list[str]]:
    """What readers see."""
    if subject.shown is None:
        pytest.skip("readers address the rows of this store directly: every generation writes the same ones")
    return subject.shown


def test_generations_beside_each_other_do_not_see_each_other(
    generations: Generations, shown: Callable[[Layout], list[str]]
) -> None:
    old, new = generations.prepared(1), generations.prepared(2)
    rows = [old.put("row", 7), old.delete("gone", 7), old.put("old", 7)]
    assert old.target.write(rows) == [APPLIED] * 3
    assert new.target.read([write.key for write in rows]) == [None] * 3
    assert new.target.count() == 0
    scanned = [new.put(name, SCANNED, 2, rule=Rule.ABSENT) for name in ("row", "gone")]
    assert new.target.write(scanned) == [APPLIED] * 2
    assert new.conditionally(new.put("old", 0), old.seen("old")) is STALE
    assert new.conditionally(new.put("new", 0), None) is APPLIED
    assert all(map(old.stands, rows))
    assert old.seen("new") is None
    assert all(map(new.stands, scanned))
    assert {row.key for row in old.target.rows()} == {old.key("row"), old.key("old")}
    assert {row.key for row in new.target.rows()} == {old.key("row"), old.key("gone"), old.key("new")}
    assert {row.generation for row in new.target.rows()} == {2}


def test_readers_see_what_was_published_last(generations: Generations, shown: Callable[[Layout], list[str]]) -> None:
    assert generations.published() is None
    assert shown(generations.layout) == []
    old = generations.prepared(1)
    assert generations.published() is None
    old.target.publish()
    assert generations.published() == 1
    old.target.write([old.put("a", 1, 1), old.put("b", 1, 2), old.put("c", 1, 4), old.delete("c", 2)][:3])
    old.does(old.delete("c", 2))
    assert shown(generations.layout) == [label(1), label(2)]
    new = generations.prepared(2)
    new.target.write([new.put("a", 1, 5), new.delete("b", 1)])
    assert generations.published() == 1
    assert shown(generations.layout) == [label(1), label(2)]
    for _ in range(2):
        new.target.publish()
        assert generations.published() == 2
        assert shown(generations.layout) == [label(5)]
    assert old.does(old.put("a", 2, 8)) is APPLIED, "the old generation can still be written"
    assert shown(generations.layout) == [label(5)]
    old.target.publish()
    assert generations.published() == 1
    assert shown(generations.layout) == [label(2), label(8)]
    assert generations.subject.another().published(generations.layout) == 1


def test_dropping_what_readers_do_not_see_leaves_them_alone(
    generations: Generations, shown: Callable[[Layout], list[str]]
) -> None:
    old, new = generations.prepared(1), generations.prepared(2)
    old.does(old.put("a", 1, 1))
    new.does(new.put("b", 1, 2))
    old.target.publish()
    new.target.drop()
    assert shown(generations.layout) == [label(1)]
    assert generations.published() == 1
    assert generations.sink.gone(generations.layout, 2) is not None
    assert generations.sink.gone(generations.layout, 1) is None
    new = generations.prepared(2)
    assert new.target.count() == 0
    new.does(new.put("b", 1, 4))
    new.target.publish()
    old.target.drop()
    assert shown(generations.layout) == [label(4)]
    assert generations.published() == 2
    assert new.stands(new.put("b", 1, 4))


def test_dropping_what_readers_see_leaves_them_nothing(
    generations: Generations, shown: Callable[[Layout], list[str]]
) -> None:
    old, new = generations.prepared(1), generations.prepared(2)
    old.does(old.put("a", 1, 1))
    new.does(new.put("b", 1, 2))
    new.target.publish()
    new.target.drop()
    assert generations.published() is None
    assert shown(generations.layout) == []
    assert old.stands(old.put("a", 1, 1))
    old.target.publish()
    assert generations.published() == 1
    assert shown(generations.layout) == [label(1)]


def test_readers_see_neither_both_nor_none(generations: Generations, shown: Callable[[Layout], list[str]]) -> None:
    old, new = generations.prepared(1), generations.prepared(2)
    old.target.write([old.put("a", 1, 1), old.put("b", 1, 2)])
    new.target.write([new.put("a", 1, 4), new.put("c", 1, 5), new.put("d", 1, 7)])
    old.target.publish()
    views = ([label(1), label(2)], [label(4), label(5), label(7)])
    assert shown(generations.layout) == views[0]
    published, met, failures = threading.Event(), threading.Semaphore(0), list[object]()

    def read() -> None:
        try:
            while not published.is_set():
                seen = shown(generations.layout)
                if seen not in views:
                    failures.append(seen)
                met.release()
        except Exception as error:  # noqa: BLE001 - told of below
            failures.append(error)
            met.release()

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(4):
        for shop in (new, old):
            assert met.acquire(timeout=30)
            shop.target.publish()
    published.set()
    reader.join(30)
    assert not reader.is_alive()
    assert failures == []


# In place


@pytest.fixture
def shared(subject: Subject) -> Generations:
    if subject.beside:
        pytest.skip("generations have rows of their own in this store")
    return Generations(subject)


def stored(shop: Shop, write: Write) -> Stored:
    """What an applied write leaves."""
    return Stored(write.key, write.version, write.owner, shop.target.generation, shop.target.content(write))


STEPS = list(product((4, 5, 6), (1, 2, 3)))
"""Versions and generations."""


@pytest.mark.parametrize("owner", ["", "item1"])
@pytest.mark.parametrize("deleted", [False, True], ids=["onto a row", "onto a tombstone"])
@pytest.mark.parametrize("deletes", [False, True], ids=["upsert", "delete"])
def test_versions_and_generations_are_compared_component_by_component(
    shared: Generations, deleted: bool, deletes: bool, owner: str
) -> None:
    for (held, standing), (version, generation) in product(STEPS, STEPS):
        name = f"{held} {standing} {version} {generation}"
        before, shop = shared.shops[standing], shared.shops[generation]
        there = before.delete(name, held, owner) if deleted else before.put(name, held, 1, owner)
        assert before.does(there) is APPLIED
        write = shop.delete(name, version, owner) if deletes else shop.put(name, version, 2, owner)
        newer = version >= held and generation >= standing and (version, generation) != (held, standing)
        assert shop.does(write) is (APPLIED if newer else STALE), name
        assert shop.does(write) is STALE, name
        assert shop.seen(name) == stored(*((shop, write) if newer else (before, there)))


def test_a_replay_of_the_old_generation_takes_no_row_back(shared: Generations) -> None:
    old, new = shared.shops[1], shared.shops[2]
    history = [old.put("row", 4, 1), old.delete("row", 5), old.put("row", 6, 2)]
    for change in history:
        assert old.does(change) is APPLIED
    for change in (new.put("row", 4, 1), new.delete("row", 5)):
        assert new.does(change) is STALE, "a pipeline that starts further back takes no row back"
    assert old.stands(history[-1])
    again = new.put("row", 6, 2)
    assert new.does(again) is APPLIED, "the same change in the next generation"
    for change in (*history, old.put("row", 9, 3), old.delete("row", 9)):
        assert old.does(change) is STALE
    for change in history:
        assert new.does(change) is STALE
    assert new.stands(again)
    gone = new.delete("row", 7)
    assert new.does(gone) is APPLIED
    for change in (*history, old.put("row", 9, 3)):
        assert old.does(change) is STALE
    assert new.stands(gone)


def test_rows_of_earlier_generations_are_told_from_the_others(shared: Generations) -> None:
    there: dict[int, list[Write]] = {}
    for generation in (1, 2, 3):
        shop = shared.shops[generation]
        owners = ("", f"item{generation}")
        there[generation] = [shop.put(f"{generation} {n}", 5 + n, owner=owners[n % 2]) for n in range(4)]
        shop.target.write([*there[generation], shop.delete(f"{generation} gone", 5)])
    taken = shared.shops[2].put("1 0", 9, 2)
    assert shared.shops[2].does(taken) is APPLIED
    there[1], there[2] = there[1][1:], [*there[2], taken]
    for generation in (1, 2, 3):
        found = {row.key: row for row in shared.shops[generation].target.earlier()}
        assert found.keys() == {write.key for before in range(1, generation) for write in there[before]}
        for before in range(1, generation):
            for write in there[before]:
                row = found[write.key]
                assert (row.version, row.owner, row.generation) == (write.version, write.owner, before)
                assert row.content is not None
        assert shared.shops[generation].target.count() == 12


def test_absent_means_absent_in_every_generation(shared: Generations) -> None:
    for standing, generation in product((1, 2, 3), (1, 2, 3)):
        before, shop = shared.shops[standing], shared.shops[generation]
        name = f"{standing} {generation}"
        there = [before.put(f"live {name}", 5), before.delete(f"gone {name}", 5)]
        before.target.write(there)
        for kind in ("live", "gone"):
            for version in (SCANNED, 5, 9):
                assert shop.does(shop.put(f"{kind} {name}", version, 2, rule=Rule.ABSENT)) is STALE
        assert all(map(before.stands, there))


def test_an_owner_is_met_in_every_generation(shared: Generations) -> None:
    for standing, generation in product((1, 2, 3), (1, 2, 3)):
        before, shop = shared.shops[standing], shared.shops[generation]
        name = f"{standing} {generation}"
        there = before.put(f"live {name}", 5, owner="item1")
        gone = before.delete(f"gone {name}", 5, owner="item1")
        before.target.write([there, gone])
        outcome = shop.does(shop.put(f"live {name}", 9, 2, owner="item2"))
        assert isinstance(outcome, Rejected)
        assert outcome.kind is RejectedKind.OWNER
        assert shop.does(shop.delete(f"live {name}", 9, owner="item2")) is STALE
        assert before.stands(there)
        # A tombstone may be taken over whatever its version, but not by an earlier generation.
        taken = shop.put(f"gone {name}", 4, 2, owner="item2")
        assert shop.does(taken) is (APPLIED if generation >= standing else STALE)
        assert (shop.stands(taken), before.stands(gone)) == (generation >= standing, generation < standing)


def test_a_conditional_write_brings_a_row_into_its_generation(shared: Generations) -> None:
    for standing, generation in product((1, 2, 3), (1, 2, 3)):
        before, shop = shared.shops[standing], shared.shops[generation]
        names = [f"{kind} {standing} {generation}" for kind in ("live", "swept", "gone", "kept gone")]
        there = [(before.delete if "gone" in name else before.put)(name, 5) for name in names]
        before.target.write(there)
        right = [shop.put(name, 5, 2) if number % 2 == 0 else shop.delete(name, 5) for number, name in enumerate(names)]
        conditional_writes = [
            ConditionalWrite(write, shop.seen(name)) for write, name in zip(right, names, strict=True)
        ]
        if generation < standing:
            # What is left of an earlier rebuild repairs nothing that a later one has done.
            assert shop.target.write_if_unchanged(conditional_writes) == [STALE] * 4
            assert all(map(before.stands, there))
            continue
        assert shop.target.write_if_unchanged(conditional_writes) == [APPLIED] * 4
        assert all(map(shop.stands, right))
        if generation > standing:
            assert before.target.write_if_unchanged(conditional_writes) == [STALE] * 4
            late = [before.put(name, 9, 3) for name in names]
            assert before.target.write(late) == [STALE] * 4
        newer = [shop.put(name, 6, 4) for name in names]
        assert shop.target.write(newer) == [APPLIED] * 4
        assert all(map(shop.stands, newer))


def test_what_was_seen_tells_generations_apart(shared: Generations) -> None:
    one, two, three = shared.shops.values()
    one.target.write([one.put("live", 5), one.delete("gone", 5)])
    seen = {name: one.seen(name) for name in ("live", "gone")}
    two.target.write([two.put("live", 5), two.delete("gone", 5)])
    for name in seen:
        assert three.conditionally(three.put(name, 5, 2), seen[name]) is STALE
        assert three.conditionally(three.put(name, 5, 2), two.seen(name)) is APPLIED


def test_rows_are_listed_with_the_generation_that_wrote_them(shared: Generations) -> None:
    expected: dict[object, Stored] = {}
    for number, shop in shared.shops.items():
        writes = [shop.put(f"{number} {row}", row + 5, row) for row in range(30)]
        shop.target.write([*writes, shop.delete(f"{number} gone", 5)])
        expected |= {write.key: stored(shop, write) for write in writes}
    for shop in shared.shops.values():
        assert {row.key: row for row in shop.target.rows()} == expected
        assert shop.target.read(list(expected)) == list(expected.values())  # type: ignore[arg-type] # keys, as above
        assert shop.target.count() == 90


def test_drop_leaves_what_other_generations_wrote_or_took_over(shared: Generations) -> None:
    one, two, three = shared.shops.values()
    for shop, name in product((one, two, three), ("live", "gone")):
        shop.does((shop.put if name == "live" else shop.delete)(f"{name} {shop.target.generation}", 5))
    one.target.write([one.put("taken", 5), one.delete("taken gone", 5), one.put("put right", 5), one.put("swept", 5)])
    two.target.write([two.put("taken", 6), two.delete("taken gone", 6)])
    stays = [two.put("put right", 5, 2), two.delete("swept", 5)]
    assert (
        two.target.write_if_unchanged(
            [ConditionalWrite(stays[0], two.seen("put right")), ConditionalWrite(stays[1], two.seen("swept"))]
        )
        == [APPLIED] * 2
    )
    stays += [two.put("live 2", 5), two.delete("gone 2", 5), two.put("taken", 6), two.delete("taken gone", 6)]
    one.target.drop()
    one.target.drop()
    assert one.target.read([one.key("live 1"), one.key("gone 1")]) == [None, None]
    assert all(map(two.stands, stays))
    assert three.stands(three.put("live 3", 5))
    assert three.stands(three.delete("gone 3", 5))
    three.target.drop()
    assert all(map(two.stands, stays))
    assert two.target.count() == 3
    two.target.drop()
    assert two.target.read([write.key for write in stays]) == [None] * len(stays)
    assert one.target.count() == 0


def test_generations_in_place_need_no_publishing(shared: Generations) -> None:
    for number, shop in shared.shops.items():
        assert shared.sink.gone(shared.layout, number) is None
        shop.target.prepare(bulk=True)
        shop.does(shop.put("row", number))
        shop.target.finish()
        shop.target.publish()
        assert shared.published() is None
        assert shop.stands(shop.put("row", number))


# Every store


def test_room_is_told_in_bytes_or_not_at_all(generations: Generations) -> None:
    shop = generations.prepared(1)
    shop.target.write([shop.put(f"{row}", 1, row) for row in range(100)])
    room = generations.sink.room(generations.layout, 1)
    assert room is None or (isinstance(room, Room) and room.used > 0 and room.free >= 0)


def test_the_highest_generation_that_was_prepared_is_told(generations: Generations) -> None:
    def highest() -> int:
        told = {sink.highest(generations.layout) for sink in (generations.sink, generations.subject.another())}
        assert len(told) == 1
        return told.pop()

    other = Generations(generations.subject)
    assert highest() == 0
    other.prepared(2)
    assert highest() == 0, "another view's generations do not count"
    one, three = generations.prepared(1), generations.prepared(3)
    assert highest() == 3
    generations.prepared(2, bulk=True)
    generations.prepared(1)
    assert highest() == 3, "no earlier one lowers it"
    generations.shops[2].target.drop()
    assert highest() == 3, "nor does dropping one"
    three.does(three.put("row", 1))
    three.target.publish()
    assert highest() == 3
    other.shops[2].target.drop()
    assert highest() == 3
    three.target.drop()
    # A store may forget the earlier ones with the highest, until they are prepared again.
    assert highest() in ((1,) if generations.subject.beside else (0, 1))
    one.target.prepare()
    assert highest() == 1
    one.target.drop()
    assert highest() == 0


def test_a_hundredth_generation_is_higher_than_a_ninth(generations: Generations) -> None:
    for number in (9, 100, 10, 99):
        generations.sink.open(generations.layout, number).prepare()
    assert generations.sink.highest(generations.layout) == 100
    assert generations.subject.another().highest(generations.layout) == 100


def test_the_highest_generation_is_that_of_all_who_prepare_at_once(generations: Generations) -> None:
    numbers = [3, 1, 5, 2, 6, 4]
    barrier, failures = threading.Barrier(len(numbers)), list[Exception]()

    def prepare(number: int) -> None:
        target = generations.subject.another().open(generations.layout, number)
        barrier.wait(30)
        try:
            target.prepare()
        except Exception as error:  # noqa: BLE001 - told of below
            failures.append(error)

    threads = [threading.Thread(target=prepare, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert generations.sink.highest(generations.layout) == max(numbers)
