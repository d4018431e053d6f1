"""What the port says of conditional writes, over every store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from threading import Barrier

import pytest

from dynaview.projections.rows import Rule, Write
from dynaview.sinks.port import (
    APPLIED,
    STALE,
    Applied,
    ConditionalWrite,
    Outcome,
    Rejected,
    RejectedKind,
    SinkUnavailable,
    Stored,
    Target,
)
from tests.sinks.contract.shop import Shop
from tests.sinks.contract.subjects import Subject

HIGH = 10**40


# Compare and set


LOOKS: list[tuple[int, str, bool] | None] = [
    None,
    *product((0, 5, 2**53, 2**53 + 1, HIGH + 5), ("item1", "item2"), (True, False)),
]
"""What may stand under a key: nothing, or version, owner, and whether it is live."""


def found(shop: Shop, name: str, look: tuple[int, str, bool] | None) -> Stored | None:
    """`look` as `Target.read` would tell of it."""
    if look is None:
        return None
    version, owner, live = look
    content = shop.target.content(shop.put(name, version)) if live else None
    return Stored(shop.key(name), version, owner, shop.target.generation, content)


def stand(shop: Shop, name: str, look: tuple[int, str, bool]) -> Write:
    version, owner, live = look
    return shop.put(name, version, 1, owner) if live else shop.delete(name, version, owner)


@pytest.mark.parametrize("deletes", [False, True], ids=["upsert", "delete"])
def test_a_row_is_written_exactly_where_it_is_as_it_was_seen(shop: Shop, deletes: bool) -> None:
    pairs = {f"{row}": pair for row, pair in enumerate(product(LOOKS, LOOKS))}
    before = [stand(shop, name, there) for name, (there, _) in pairs.items() if there is not None]
    assert shop.target.write(before) == [APPLIED] * len(before)
    conditional_writes = [
        ConditionalWrite(
            shop.delete(name, 7, "item1") if deletes else shop.put(name, 7, 2, "item1"), found(shop, name, seen)
        )
        for name, (_, seen) in pairs.items()
    ]
    outcomes = shop.target.write_if_unchanged(conditional_writes)
    assert outcomes == [APPLIED if there == seen else STALE for there, seen in pairs.values()]
    rows = shop.target.read([conditional.write.key for conditional in conditional_writes])
    for (name, (there, seen)), conditional, row in zip(pairs.items(), conditional_writes, rows, strict=True):
        if there == seen:
            version = seen[0] if seen is not None and seen[1] == "item1" else 0
            assert row == Stored(conditional.write.key, version, "item1", 1, shop.target.content(conditional.write)), (
                there,
                seen,
            )
        else:
            assert row == found(shop, name, there), (there, seen)


def test_a_look_at_another_generation_fits_nothing(shop: Shop) -> None:
    there = [shop.put("live", 5), shop.delete("gone", 5)]
    shop.target.write(there)
    for write in there:
        content = shop.target.content(write)
        for generation in (0, 2):
            assert shop.conditionally(shop.put("live", 5, 2), Stored(write.key, 5, "", generation, content)) is STALE
        assert shop.stands(write)


def test_of_what_was_seen_the_content_does_not_matter(shop: Shop) -> None:
    by_hand = shop.put("row", 5, 3)
    shop.does(by_hand)
    right = shop.put("row", 5, 4)
    other = shop.target.content(shop.put("row", 5, 6))
    assert shop.conditionally(right, Stored(by_hand.key, 5, "", 1, other)) is APPLIED
    assert shop.stands(right)


def test_version_and_rule_of_a_conditional_write_are_not_looked_at(shop: Shop) -> None:
    for name, version, rule in (("a", 3, Rule.NEWER), ("b", 9, Rule.NEWER), ("c", 9, Rule.ABSENT)):
        shop.does(shop.put(name, 5))
        assert shop.conditionally(shop.put(name, version, 2, rule=rule), shop.seen(name)) is APPLIED
        assert shop.stands(shop.put(name, 5, 2))
        assert shop.conditionally(shop.put(f"new {name}", version, 2, rule=rule), None) is APPLIED
        assert shop.stands(shop.put(f"new {name}", 0, 2))


def test_nothing_of_the_old_values_is_left(shop: Shop) -> None:
    # Numbers 0, 3 and 6 differ in which fields they have at all.
    shop.does(shop.put("row", 5, 1))
    for number in (0, 3, 6, 0, 6, 3):
        write = shop.put("row", 5, number)
        assert shop.conditionally(write, shop.seen("row")) is APPLIED
        assert shop.stands(write)


def test_the_same_conditional_write_again_ends_the_same(shop: Shop) -> None:
    shop.does(shop.put("row", 5))
    conditional = ConditionalWrite(shop.put("row", 5, 2), shop.seen("row"))
    assert shop.target.write_if_unchanged([conditional]) == [APPLIED]
    shop.target.write_if_unchanged([conditional])
    assert shop.stands(conditional.write)
    new = ConditionalWrite(shop.put("new", 0, 2), None)
    assert shop.target.write_if_unchanged([new]) == [APPLIED]
    assert shop.target.write_if_unchanged([new]) == [STALE]
    assert shop.stands(new.write)


# Versions and owners


def test_a_row_put_right_is_guarded_by_the_version_that_was_seen(shop: Shop) -> None:
    shop.does(shop.put("row", HIGH, owner="item1"))
    shop.does(shop.delete("gone", HIGH, owner="item1"))
    for name in ("row", "gone"):
        righted = shop.put(name, HIGH, 2, owner="item1")
        assert shop.conditionally(righted, shop.seen(name)) is APPLIED
        assert shop.stands(righted)
        assert shop.does(shop.put(name, HIGH, 3, owner="item1")) is STALE
        assert shop.does(shop.delete(name, HIGH - 1, owner="item1")) is STALE
        newer = shop.put(name, HIGH + 1, 3, owner="item1")
        assert shop.does(newer) is APPLIED
        assert shop.stands(newer)


def test_a_row_put_right_for_another_item_takes_any_change_of_it(shop: Shop) -> None:
    shop.does(shop.put("row", HIGH, owner="item1"))
    shop.does(shop.delete("gone", HIGH, owner="item1"))
    for name in ("row", "gone"):
        assert shop.conditionally(shop.put(name, 9, 2, owner="item2"), shop.seen(name)) is APPLIED
        assert shop.stands(shop.put(name, 0, 2, owner="item2"))
        assert shop.does(shop.delete(name, HIGH + 1, owner="item1")) is STALE
        assert isinstance(shop.does(shop.put(name, HIGH + 1, owner="item1")), Rejected)
        change = shop.put(name, 1, 3, owner="item2")
        assert shop.does(change) is APPLIED
        assert shop.stands(change)


def test_a_conditional_write_that_deletes_leaves_a_tombstone(shop: Shop) -> None:
    shop.target.write([shop.put("row", 5), shop.put("other", 6, owner="item1"), shop.put("stays", 5)])
    assert shop.conditionally(shop.delete("row", 9), shop.seen("row")) is APPLIED
    assert shop.conditionally(shop.delete("other", 9, owner="item2"), shop.seen("other")) is APPLIED
    assert shop.conditionally(shop.delete("never", 9), None) is APPLIED
    for gone in (shop.delete("row", 5), shop.delete("other", 0, owner="item2"), shop.delete("never", 0)):
        assert shop.stands(gone)
    assert shop.does(shop.put("row", 5)) is STALE
    assert shop.does(shop.put("row", 9, rule=Rule.ABSENT)) is STALE
    assert shop.does(shop.put("never", 9, rule=Rule.ABSENT)) is STALE
    back = shop.put("row", 6, 2)
    assert shop.does(back) is APPLIED
    assert shop.stands(back)
    assert {row.key for row in shop.target.rows()} == {shop.key("row"), shop.key("stays")}


# Batches and outcomes


def test_an_empty_batch_of_conditional_writes_does_nothing(target: Target) -> None:
    assert target.write_if_unchanged([]) == []


@pytest.mark.parametrize("size", [1, 99, 101, 1200])
def test_batches_of_conditional_writes_of_any_size(shop: Shop, size: int) -> None:
    writes = [shop.put(f"{number}", 7, number) for number in range(size)]
    shop.target.write(writes[::2])
    seen = shop.target.read([write.key for write in writes])
    right = [shop.put(f"{number}", 7, number + 1) for number in range(size)]
    conditional_writes = [ConditionalWrite(write, row) for write, row in zip(right, seen, strict=True)]
    assert shop.target.write_if_unchanged(conditional_writes) == [APPLIED] * size
    expected = {
        write.key: Stored(write.key, 7 if number % 2 == 0 else 0, "", 1, shop.target.content(write))
        for number, write in enumerate(right)
    }
    assert shop.target.read(list(expected)) == list(expected.values())
    assert {row.key: row for row in shop.target.rows()} == expected
    assert shop.target.count() == size


def test_a_rejected_conditional_write_fails_no_neighbour_and_changes_nothing(subject: Subject, shop: Shop) -> None:
    text = f"{shop.target.layout.view}:bad"
    key, bad = subject.unstorable(text)
    shop.does(shop.put("bad", 4))
    standing = [shop.put(f"{number}", 5, 1) for number in range(240)]
    shop.target.write(standing)
    seen = shop.target.read([write.key for write in standing])
    conditional_writes = [ConditionalWrite(shop.put(f"{number}", 5, 2), row) for number, row in enumerate(seen)]
    there = shop.target.read([key])[0] if key == subject.key(text) else None
    outcomes = shop.target.write_if_unchanged(
        [*conditional_writes[:120], ConditionalWrite(Write(key, bad, 1), there), *conditional_writes[120:]]
    )
    rejected = outcomes.pop(120)
    assert isinstance(rejected, Rejected)
    assert rejected.kind is RejectedKind.CONTENT
    assert "ud800" not in rejected.reason
    assert outcomes == [APPLIED] * 240
    assert shop.stands(shop.put("bad", 4))
    assert shop.stands(shop.put("119", 5, 2))
    assert shop.stands(shop.put("120", 5, 2))
    assert shop.target.count() == 241


def test_outcomes_of_conditional_writes_are_in_the_order_of_a_mixed_batch(subject: Subject, shop: Shop) -> None:
    shop.target.write([shop.put("live", 5), shop.put("moved", 5), shop.delete("gone", 5), shop.put("orphan", 5)])
    seen = {name: shop.seen(name) for name in ("live", "moved", "gone", "orphan", "new", "taken")}
    shop.target.write([shop.put("moved", 6, 3), shop.put("taken", 1, 3)])
    expected: list[tuple[Write, Outcome]] = [
        (shop.put("new", 0, 2), APPLIED),
        (shop.put("moved", 5, 2), STALE),
        (shop.delete("orphan", 5), APPLIED),
        (shop.put("taken", 0, 2), STALE),
        (shop.put("live", 5, 2), APPLIED),
        (shop.put("gone", 5, 2), APPLIED),
    ]
    names = ("new", "moved", "orphan", "taken", "live", "gone")
    outcomes = shop.target.write_if_unchanged(
        [ConditionalWrite(write, seen[name]) for (write, _), name in zip(expected, names, strict=True)]
    )
    assert outcomes == [outcome for _, outcome in expected]
    assert [shop.stands(write) for write, _ in expected] == [outcome is APPLIED for _, outcome in expected]
    assert shop.stands(shop.put("moved", 6, 3))
    assert shop.stands(shop.put("taken", 1, 3))


def test_keys_of_conditional_writes_are_kept_as_they_are(shop: Shop) -> None:
    names = ["ümlaut 中 \U0001f600", "a b", "a:b", "a{b}c", "}{", "{}", "a/b?c=d&e#f", "a\\b", 'a"b', "*[x]?", "'"]
    assert shop.target.write_if_unchanged([ConditionalWrite(shop.put(name, 0), None) for name in names]) == [
        APPLIED
    ] * len(names)
    assert all(shop.stands(shop.put(name, 0)) for name in names)
    conditional_writes = [ConditionalWrite(shop.delete(name, 0), shop.seen(name)) for name in names]
    assert shop.target.write_if_unchanged(conditional_writes) == [APPLIED] * len(names)
    assert all(shop.stands(shop.delete(name, 0)) for name in names)


# Threads


def test_of_many_repairers_of_nothing_one_wins(subject: Subject, shop: Shop) -> None:
    other = Shop(subject, subject.another().open(shop.target.layout, shop.target.generation))
    barrier = Barrier(4)

    def race(pipeline: int) -> list[Outcome]:
        own = (shop, other)[pipeline % 2]
        barrier.wait(timeout=30)
        return [own.conditionally(own.put(f"{row}", 0, pipeline), None) for row in range(20)]

    with ThreadPoolExecutor(4) as pool:
        pipelines = list(pool.map(race, range(4)))
    assert all(isinstance(outcome, Applied) for pipeline in pipelines for outcome in pipeline)
    for row, outcomes in enumerate(zip(*pipelines, strict=True)):
        assert outcomes.count(APPLIED) == 1
        assert shop.stands(shop.put(f"{row}", 0, outcomes.index(APPLIED)))


# The store


def test_a_store_that_cannot_be_reached_conditional_writes_nothing(subject: Subject) -> None:
    if subject.unreachable is None:
        pytest.skip("memory is always there")
    sink = subject.unreachable()
    layout = subject.fresh()
    target = sink.open(layout, 1)
    assert target.write_if_unchanged([]) == []
    with pytest.raises(SinkUnavailable):
        target.write_if_unchanged([ConditionalWrite(Shop(subject, target).put("row", 0), None)])
    if not sink.in_place:
        with pytest.raises(SinkUnavailable):
            sink.published(layout)
    sink.close()
