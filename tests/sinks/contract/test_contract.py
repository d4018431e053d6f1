"""`dynaview.sinks.port`, sentence by sentence, over every store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise

import pytest

from dynaview.projections.changes import SCANNED, STREAM_SPAN
from dynaview.projections.rows import Rule, Write
from dynaview.sinks.port import (
    APPLIED,
    STALE,
    Applied,
    Outcome,
    Rejected,
    RejectedKind,
    SinkRefused,
    SinkUnavailable,
    Stored,
    Target,
)
from tests.sinks.contract.model import VERSIONS
from tests.sinks.contract.shop import Shop
from tests.sinks.contract.subjects import Subject

# Batches


def test_an_empty_batch_does_nothing(target: Target) -> None:
    assert target.write([]) == []
    assert list(target.rows()) == []
    assert target.count() == 0


@pytest.mark.parametrize("size", [1, 2, 99, 100, 101, 2000])
def test_batches_of_any_size(shop: Shop, size: int) -> None:
    writes = [shop.put(f"{number}", 7, number) for number in range(size)]
    assert shop.target.write(writes) == [APPLIED] * size
    expected = {
        write.key: Stored(write.key, 7, "", shop.target.generation, shop.target.content(write)) for write in writes
    }
    assert shop.target.read([write.key for write in writes]) == list(expected.values())
    assert {row.key: row for row in shop.target.rows()} == expected
    assert shop.target.count() == size
    assert shop.target.write(writes) == [STALE] * size


def test_outcomes_are_in_the_order_of_a_mixed_batch(shop: Shop) -> None:
    before = [shop.put("old", 5), shop.put("same", 5), shop.put("deleted", 5), shop.delete("buried", 5)]
    assert shop.target.write(before) == [APPLIED] * 4
    expected = [
        (shop.put("new", 1), APPLIED),
        (shop.put("buried", 4), STALE),
        (shop.put("new too", 1), APPLIED),
        (shop.put("old", 6, 2), APPLIED),
        (shop.delete("never there", 3), APPLIED),
        (shop.put("same", 4, 2), STALE),
        (shop.put("newest", 1), APPLIED),
        (shop.delete("deleted", 6), APPLIED),
        (shop.put("scanned", SCANNED, rule=Rule.ABSENT), APPLIED),
    ]
    assert shop.target.write([write for write, _ in expected]) == [outcome for _, outcome in expected]
    assert [shop.stands(write) for write, _ in expected] == [outcome is APPLIED for _, outcome in expected]
    assert shop.target.count() == 6


# Guard


def test_versions_are_compared_as_integers_of_any_size(shop: Shop) -> None:
    pairs = list(pairwise(VERSIONS))
    rising = [shop.put(f"rising {low}", low) for low, _ in pairs]
    falling = [shop.put(f"falling {high}", high) for _, high in pairs]
    assert shop.target.write([*rising, *falling]) == [APPLIED] * 2 * len(pairs)
    later = [shop.put(f"rising {low}", high, 2) for low, high in pairs]
    earlier = [shop.put(f"falling {high}", low, 2) for low, high in pairs]
    outcomes = shop.target.write([*later, *earlier])
    expected = [*(((low, high), APPLIED) for low, high in pairs), *(((high, low), STALE) for low, high in pairs)]
    assert list(zip((pair for pair, _ in expected), outcomes, strict=True)) == expected
    assert all(map(shop.stands, [*later, *falling]))


def test_an_equal_version_is_stale(shop: Shop) -> None:
    first = shop.put("row", 5)
    assert shop.does(first) is APPLIED
    assert shop.does(shop.put("row", 5, 2)) is STALE
    assert shop.does(shop.delete("row", 5)) is STALE
    assert shop.stands(first)


def test_the_second_stream_of_a_table_begins_low_and_is_newer(shop: Shop) -> None:
    shop.does(shop.put("row", STREAM_SPAN - 1))
    second = shop.put("row", STREAM_SPAN + 1, 2)
    assert shop.does(second) is APPLIED
    assert shop.does(shop.put("row", STREAM_SPAN - 1)) is STALE
    assert shop.stands(second)


def test_an_update_leaves_nothing_of_the_old_values(subject: Subject, shop: Shop) -> None:
    # Numbers 0, 3 and 6 differ in which fields they have at all.
    for version, number in enumerate([0, 3, 6, 0, 6, 3], start=1):
        write = shop.put("row", version, number)
        assert shop.does(write) is APPLIED
        assert shop.stands(write)


def test_scanned_rows_are_only_inserted(shop: Shop) -> None:
    live, deleted = shop.put("live", 5), shop.delete("deleted", 5)
    shop.target.write([live, deleted])
    scanned = [shop.put(name, SCANNED, 2, rule=Rule.ABSENT) for name in ("live", "deleted", "nothing")]
    assert shop.target.write(scanned) == [STALE, STALE, APPLIED]
    assert shop.stands(live)
    assert shop.stands(deleted)
    assert shop.stands(scanned[2])
    # Absent means absent, whatever the version.
    assert shop.does(shop.put("live", 9, 2, rule=Rule.ABSENT)) is STALE
    assert shop.does(shop.put("deleted", 9, 2, rule=Rule.ABSENT)) is STALE
    assert shop.does(shop.put("nothing", SCANNED, 3, rule=Rule.ABSENT)) is STALE


def test_any_change_is_newer_than_a_scanned_row(shop: Shop) -> None:
    shop.target.write([shop.put("a", SCANNED, rule=Rule.ABSENT), shop.put("b", SCANNED, rule=Rule.ABSENT)])
    changes = [shop.put("a", 1, 2), shop.delete("b", 1)]
    assert shop.target.write(changes) == [APPLIED, APPLIED]
    assert all(map(shop.stands, changes))


# Owners


def test_a_live_row_of_another_item_is_never_overwritten(shop: Shop) -> None:
    theirs = shop.put("row", 5, owner="item1")
    assert shop.does(theirs) is APPLIED
    for version in (4, 5, 6):
        outcome = shop.does(shop.put("row", version, 2, owner="item2"))
        assert isinstance(outcome, Rejected)
        assert outcome.kind is RejectedKind.OWNER
        assert "item1" in outcome.reason
        assert "item2" in outcome.reason
        assert shop.does(shop.delete("row", version, owner="item2")) is STALE
    scanned = shop.does(shop.put("row", SCANNED, 2, owner="item2", rule=Rule.ABSENT))
    assert isinstance(scanned, Rejected)
    assert scanned.kind is RejectedKind.OWNER
    assert shop.stands(theirs)


def test_the_owner_goes_on_writing_its_row(shop: Shop) -> None:
    assert shop.does(shop.put("row", 5, owner="item1")) is APPLIED
    update = shop.put("row", 6, 2, owner="item1")
    assert shop.does(update) is APPLIED
    assert shop.does(shop.put("row", 5, owner="item1")) is STALE
    assert shop.stands(update)
    gone = shop.delete("row", 7, owner="item1")
    assert shop.does(gone) is APPLIED
    assert shop.stands(gone)


@pytest.mark.parametrize("version", [4, 5, 6])
def test_the_tombstone_of_another_item_may_be_taken_over(shop: Shop, version: int) -> None:
    gone = shop.delete("row", 5, owner="item1")
    shop.target.write([shop.put("row", 4, owner="item1")])
    assert shop.does(gone) is APPLIED
    assert shop.does(shop.delete("row", version, owner="item2")) is STALE
    assert shop.does(shop.put("row", SCANNED, 2, owner="item2", rule=Rule.ABSENT)) is STALE
    assert shop.stands(gone)
    taken = shop.put("row", version, 2, owner="item2")
    assert shop.does(taken) is APPLIED
    assert shop.stands(taken)
    assert isinstance(shop.does(shop.put("row", 9, owner="item1")), Rejected)


def test_ones_own_tombstone_is_guarded_by_version(shop: Shop) -> None:
    gone = shop.delete("row", 5, owner="item1")
    assert shop.does(gone) is APPLIED
    assert shop.does(shop.put("row", 4, owner="item1")) is STALE
    assert shop.stands(gone)
    back = shop.put("row", 6, owner="item1")
    assert shop.does(back) is APPLIED
    assert shop.stands(back)


# Tombstones


def test_deletes_stay_deleted(shop: Shop) -> None:
    shop.does(shop.put("row", 5))
    gone = shop.delete("row", 7)
    assert shop.does(gone) is APPLIED
    assert shop.stands(gone)
    assert shop.target.count() == 0
    assert shop.does(shop.put("row", 6)) is STALE
    assert shop.does(shop.put("row", 7)) is STALE
    assert shop.does(shop.delete("row", 7)) is STALE
    assert shop.stands(gone)
    back = shop.put("row", 8, 2)
    assert shop.does(back) is APPLIED
    assert shop.stands(back)
    assert shop.target.count() == 1


def test_deleting_what_was_never_there_leaves_a_tombstone(shop: Shop) -> None:
    gone = shop.delete("row", 7)
    assert shop.does(gone) is APPLIED
    assert shop.does(shop.put("row", 6)) is STALE
    assert shop.stands(gone)
    assert list(shop.target.rows()) == []


def test_a_tombstone_takes_the_higher_version(shop: Shop) -> None:
    assert shop.does(shop.delete("row", 7)) is APPLIED
    higher = shop.delete("row", 9)
    assert shop.does(higher) is APPLIED
    assert shop.does(shop.delete("row", 8)) is STALE
    assert shop.does(shop.put("row", 8)) is STALE
    assert shop.stands(higher)


def test_purge_keeps_young_tombstones_and_all_rows(shop: Shop) -> None:
    live, gone = shop.put("live", 5), shop.delete("gone", 5)
    shop.target.write([live, shop.put("gone", 4)])
    shop.does(gone)
    assert shop.target.purge(timedelta(hours=25)) == 0
    assert shop.stands(gone)
    assert shop.does(shop.put("gone", 4)) is STALE
    removed = shop.target.purge(timedelta(0))
    assert shop.target.read([gone.key]) == ([None] if removed else [Stored(gone.key, 5, "", 1, None)])
    assert removed in (0, 1)
    assert shop.stands(live)
    assert shop.target.count() == 1


# Outcomes


def test_a_rejected_write_fails_no_neighbour_and_changes_nothing(subject: Subject, shop: Shop) -> None:
    text = f"{shop.target.layout.view}:bad"
    key, bad = subject.unstorable(text)
    shop.target.write([shop.put("mine", 5, owner="item1")])
    before = [shop.put(f"before {number}", 1) for number in range(120)]
    after = [shop.put(f"after {number}", 1) for number in range(120)]
    batch = [*before, Write(key, bad, 1), shop.put("mine", 6, 2, owner="item2"), *after]
    outcomes = shop.target.write(batch)
    assert outcomes[:120] == [APPLIED] * 120
    assert outcomes[-120:] == [APPLIED] * 120
    content, owner = outcomes[120], outcomes[121]
    assert isinstance(content, Rejected)
    assert content.kind is RejectedKind.CONTENT
    assert "ud800" not in content.reason
    assert isinstance(owner, Rejected)
    assert owner.kind is RejectedKind.OWNER
    assert shop.target.count() == 241
    if key == subject.key(text):
        # Only the values were bad: the row can still be written.
        assert shop.target.read([key]) == [None]
        assert shop.does(Write(key, subject.values(text, 1), 1)) is APPLIED
    good = shop.put("later", 1)
    assert shop.does(good) is APPLIED
    assert shop.stands(good)


def test_a_batch_of_nothing_but_rejected_writes(subject: Subject, shop: Shop) -> None:
    rows = [subject.unstorable(f"{shop.target.layout.view}:{number}") for number in range(3)]
    outcomes = shop.target.write([Write(key, bad, 1) for key, bad in rows])
    assert [type(outcome) for outcome in outcomes] == [Rejected] * 3
    assert shop.target.count() == 0


def test_a_write_that_the_store_cannot_hold_is_known_without_asking_it(subject: Subject, shop: Shop) -> None:
    key, bad = subject.unstorable(f"{shop.target.layout.view}:bad")
    (outcome,) = shop.target.write([Write(key, bad, 1)])
    assert isinstance(outcome, Rejected)
    fault = shop.target.fault(Write(key, bad, 1))
    assert fault is not None
    assert "ud800" not in fault
    assert shop.target.fault(shop.put("good", 1)) is None
    assert shop.target.fault(shop.delete("good", 2)) is None


# Content


def test_content_is_what_read_would_show(shop: Shop) -> None:
    writes = [shop.put(f"row {number}", 5, number) for number in range(8)]
    promised = [shop.target.content(write) for write in writes]
    assert None not in promised
    shop.target.write(writes)
    found = shop.target.read([write.key for write in writes])
    assert [None if row is None else row.content for row in found] == promised
    assert [shop.target.content(write) for write in writes] == promised
    assert shop.target.content(shop.delete("row 1", 6)) is None


AWKWARD = [
    "plain",
    "ümlaut 中 \U0001f600",
    "a b",
    "a:b",
    "a|b",
    "a{b}c",
    "}{",
    "{}",
    "a/b?c=d&e#f",
    "a\\b",
    'a"b',
    "*[x]?",
    "'",
]


def test_keys_are_kept_as_they_are(shop: Shop) -> None:
    writes = [shop.put(name, 5) for name in AWKWARD]
    assert shop.target.write(writes) == [APPLIED] * len(writes)
    assert all(map(shop.stands, writes))
    deletes = [shop.delete(name, 6) for name in AWKWARD]
    assert shop.target.write(deletes) == [APPLIED] * len(writes)
    assert all(map(shop.stands, deletes))
    assert shop.target.write(writes) == [STALE] * len(writes)


def test_read_answers_in_the_order_asked(shop: Shop) -> None:
    writes = [shop.put("b", 2), shop.delete("c", 3), shop.put("a", 1, 2)]
    shop.target.write(writes)
    keys = [shop.key(name) for name in ("missing", "c", "a", "missing too", "b")]
    found = shop.target.read(keys)
    assert [None if row is None else (row.key, row.version) for row in found] == [
        None,
        (keys[1], 3),
        (keys[2], 1),
        None,
        (keys[4], 2),
    ]
    assert shop.target.read([]) == []


# Threads


def test_one_target_serves_many_threads(shop: Shop) -> None:
    def fill(pipeline: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for number in range(10):
            outcomes += shop.target.write([shop.put(f"{pipeline} {number} {row}", 1, row) for row in range(10)])
        return outcomes

    with ThreadPoolExecutor(6) as pool:
        pipelines = list(pool.map(fill, range(6)))
    assert pipelines == [[APPLIED] * 100] * 6
    assert shop.target.count() == 600


def test_of_many_writers_at_once_the_last_version_wins(subject: Subject, shop: Shop) -> None:
    other = Shop(subject, subject.another().open(shop.target.layout, shop.target.generation))

    def race(pipeline: int) -> list[Outcome]:
        own = (shop, other)[pipeline % 2]
        order = sorted(range(1, 41), key=lambda version: (version * (7 + pipeline)) % 41)
        return [own.does(own.put("row", version, version)) for version in order]

    with ThreadPoolExecutor(4) as pool:
        outcomes = [outcome for pipeline in pool.map(race, range(4)) for outcome in pipeline]
    assert all(isinstance(outcome, Applied) for outcome in outcomes)
    assert shop.stands(shop.put("row", 40, 40))
    assert shop.target.count() == 1


# Life of a generation


def test_prepare_twice_keeps_the_rows(subject: Subject, shop: Shop) -> None:
    write = shop.put("row", 1)
    shop.does(write)
    shop.target.prepare()
    subject.open(shop.target.layout, shop.target.generation)
    assert shop.stands(write)


def test_prepare_at_once_from_several_workers(subject: Subject) -> None:
    layout = subject.fresh()
    targets = [subject.another().open(layout, 1) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: one.prepare(), targets))
    shop = Shop(subject, targets[0])
    write = shop.put("row", 1)
    assert shop.does(write) is APPLIED
    assert Shop(subject, targets[3]).stands(write)


def test_publish_is_idempotent_and_changes_no_row(shop: Shop) -> None:
    write, gone = shop.put("row", 1), shop.delete("gone", 1)
    shop.target.write([write, gone])
    shop.target.publish()
    shop.target.publish()
    assert shop.stands(write)
    assert shop.target.count() == 1
    later = shop.put("row", 2, 2)
    assert shop.does(later) is APPLIED
    assert shop.stands(later)


def test_drop_removes_everything_and_can_be_repeated(subject: Subject, shop: Shop) -> None:
    write, gone = shop.put("row", 5), shop.delete("gone", 5)
    shop.target.write([write, gone])
    shop.target.publish()
    bystander = Shop(subject, subject.open())
    stays = bystander.put("row", 1)
    bystander.does(stays)
    shop.target.drop()
    shop.target.drop()
    shop.target.prepare()
    assert shop.target.read([write.key, gone.key]) == [None, None]
    assert shop.target.count() == 0
    again = shop.put("row", 1)
    assert shop.does(again) is APPLIED
    assert shop.stands(again)
    assert bystander.stands(stays)


def test_rows_are_found_by_their_owners(shop: Shop) -> None:
    mine = [shop.put(f"mine {number}", 5, number, owner="0011223344556677") for number in range(3)]
    others = [shop.put("theirs", 5, 1, owner="8899aabbccddeeff"), shop.put("nobody's", 5)]
    gone = shop.put("gone", 5, owner="0011223344556677")
    shop.target.write([*mine, *others, gone])
    assert list(shop.target.rows_of([])) == []
    assert {row.key for row in shop.target.rows_of(["0011223344556677"])} == {write.key for write in [*mine, gone]}
    shop.target.write([shop.delete("gone", 6, owner="0011223344556677")])
    found = {row.key: row for row in shop.target.rows_of({"0011223344556677", "never there"})}
    assert found.keys() == {write.key for write in mine}
    assert {(row.version, row.owner, row.content is None) for row in found.values()} == {(5, "0011223344556677", False)}
    both = shop.target.rows_of({"0011223344556677", "8899aabbccddeeff"})
    assert {row.key for row in both} == {write.key for write in [*mine, others[0]]}


def test_what_was_prepared_and_is_gone_is_told(subject: Subject, shop: Shop) -> None:
    shop.does(shop.put("row", 5))
    where = shop.target.layout, shop.target.generation
    assert subject.sink.gone(*where) is None
    shop.target.drop()
    told = subject.sink.gone(*where)
    assert (told is None) == (not subject.beside)  # keys stand for themselves
    shop.target.prepare()
    assert subject.sink.gone(*where) is None


def test_a_name_that_is_taken_is_refused_and_left_alone(subject: Subject) -> None:
    if subject.squat is None:
        pytest.skip("this store has no names to take")
    layout = subject.fresh()
    assert subject.sink.problems(layout) == []
    untouched = subject.squat(layout)
    assert subject.sink.problems(layout) != []
    target = subject.sink.open(layout, 1)
    with pytest.raises(SinkRefused):
        target.prepare()
    target.drop()
    assert untouched()


def test_problems_of_a_view_that_stands_as_declared(subject: Subject, shop: Shop) -> None:
    shop.target.publish()
    assert subject.sink.problems(shop.target.layout) == []


# The store


def test_check_says_what_the_store_is(subject: Subject) -> None:
    assert subject.sink.check()


def test_a_store_that_cannot_be_reached_is_unavailable(subject: Subject) -> None:
    if subject.unreachable is None:
        pytest.skip("memory is always there")
    sink = subject.unreachable()
    target = sink.open(subject.fresh(), 1)
    shop = Shop(subject, target)
    with pytest.raises(SinkUnavailable):
        sink.check()
    with pytest.raises(SinkUnavailable):
        target.write([shop.put("row", 1)])
    with pytest.raises(SinkUnavailable):
        target.read([shop.key("row")])
    with pytest.raises(SinkUnavailable):
        target.count()
    with pytest.raises(SinkUnavailable):
        list(target.rows())
    sink.close()


def test_open_does_no_io(subject: Subject) -> None:
    if subject.unreachable is None:
        pytest.skip("memory is always there")
    target = subject.unreachable().open(subject.fresh(), 3)
    assert target.generation == 3
    assert target.write([]) == []
